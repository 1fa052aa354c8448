apt update
apt upgrade
apt install nginx rsync
cd /etc/nginx
ls sites-enabled/
nano sites-available/brindlewick
ln -s /etc/nginx/sites-available/brindlewick sites-enabled/
rm sites-enabled/default
nginx -t
service nginx reload
curl -I http://localhost/
adduser deploy
chown -R deploy:deploy /var/www/html
nano /etc/nginx/nginx.conf
nginx -t && service nginx restart
tail -f /var/log/nginx/access.log
tail -n 50 /var/log/nginx/error.log
ss -tlnp
df -h
du -sh /var/log/nginx /var/www
ls -la /srv/backup
exit
