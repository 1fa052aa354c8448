apt update
apt upgrade
nano /etc/ssh/sshd_config
systemctl status ssh
service ssh restart
df -h
free -m
ls -la /srv/backup
nano /usr/local/sbin/backup-etc
chmod +x /usr/local/sbin/backup-etc
crontab -l
tail -n 50 /var/log/auth.log
ss -tlnp
adduser admin
usermod -aG sudo admin
exit
