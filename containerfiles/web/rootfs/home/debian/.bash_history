sudo -i
ls /var/www/html
sudo service nginx status
free -m
sudo apt update
sudo apt list --upgradable
exit
