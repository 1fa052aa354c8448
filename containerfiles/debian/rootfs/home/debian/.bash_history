sudo -i
ls
df -h
top
sudo apt update
sudo apt list --upgradable
sudo tail /var/log/syslog
exit
