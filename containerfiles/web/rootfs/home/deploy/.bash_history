ls -la /var/www/html
cd /var/www/html
nano visit.html
grep -rn "7 Mill Lane" .
rm index.html.bak
exit
