//go:build appliance

package appliance

import (
	"regexp"
	"strings"
	"testing"
)

// webSigns are what a login into the web target finds once nginx runs.
var webSigns = []struct{ name, command, want string }{
	{"release", "cat /etc/debian_version", `^12\.\d+$`},
	{"host name", "hostname; cat /etc/hostname", `^web01\nweb01$`},
	{"master", "ps -eo user:9,ppid,args", `(?m)^root +1 nginx: master process /usr/sbin/nginx$`},
	{"worker", "ps -eo user:9,args", `(?m)^www-data +nginx: worker process$`},
	{"cron", "ps -eo args", `(?m)^/usr/sbin/cron$`},
	{"init", "ps -p 1 -o args=", `^init \[2\]$`},
	{"page", "curl -sS http://localhost/", `(?m)^ *<title>Brindlewick Tea: .*</title>$`},
	{"stylesheet", "curl -sS -o /dev/null -w '%{http_code} %{content_type}\\n' http://127.0.0.1/style.css", `^200 text/css$`},
	{"port", "ss -Htln sport = :80", `^LISTEN +0 +511 +0\.0\.0\.0:80 +0\.0\.0\.0:\* *$`},
	{"service", "service nginx status", `^nginx is running\.$`},
	{"errors", "cat /var/log/nginx/error.log", `^$`},
	{"old visits", "grep -c '\"HEAD / HTTP/1.0\" 200 0' /var/log/nginx/access.log.1", `^288$`},
	// But for /run, where Podman itself leaves a file.
	{"traces in files", "grep -rliE 'sandtrap|podman|container|honeypot' /etc /root /home /srv /usr/local /var/log /var/www", `^$`},
	{"traces in names", "find /etc /root /home /srv /usr/local /var/log /var/www | grep -iE 'sandtrap|podman|container|honeypot'", `^$`},
}

// TestWebTarget lands in the second target of the package, whose image an operator has
// its unit build.
func TestWebTarget(t *testing.T) {
	must(t, "systemctl", "start", "sandtrap-target-web-build.service")
	configure(t, "targets: [{name: web, hostname: web01}]\n")
	// The commands of an image start a second after the login.
	script := "exec 2>&1\nfor i in $(seq 100); do pgrep -f '^nginx: worker' >/dev/null && break; sleep 0.1; done\n"
	for _, s := range webSigns {
		script += "echo '== " + s.name + "'\n" + s.command + "\n"
	}
	source := freshSource()
	for _, login := range []string{"first", "second"} { // who comes back finds the target started anew
		r := finish(t, sshFrom(source, "root@127.0.0.1", script+"true"), nil)
		if r.status != 0 || r.stderr != "" {
			t.Fatalf("%s login: %+v", login, r)
		}
		found := map[string]string{}
		for _, part := range strings.Split("\n"+r.stdout, "\n== ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			found[name] = strings.TrimSpace(text)
		}
		for _, s := range webSigns {
			if !regexp.MustCompile(s.want).MatchString(found[s.name]) {
				t.Errorf("%s login, %s: %q is not %s", login, s.name, found[s.name], s.want)
			}
		}
		s := lastSession(t)
		if s.Target.Name != "web" || s.Target.Image != "localhost/sandtrap-target-web:latest" || s.Source.IP != source {
			t.Errorf("%s login: the session is from %s and has the target %+v", login, s.Source.IP, s.Target)
		}
		if returned := s.Target.PreviousSession != ""; returned != (login == "second") {
			t.Errorf("%s login: it follows session %q", login, s.Target.PreviousSession)
		}
	}
	settles(t)
}
