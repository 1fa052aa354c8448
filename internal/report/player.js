// A player of asciicast v2 recordings. What attackers wrote comes in as base64 in
// data-cast; it reaches the page as text nodes and as colours from a fixed list, and
// in no other way.
"use strict";

const palette = ["#2e3436", "#cc0000", "#4e9a06", "#c4a000", "#3465a4", "#75507b", "#06989a", "#d3d7cf",
  "#555753", "#ef2929", "#8ae234", "#fce94f", "#729fcf", "#ad7fa8", "#34e2e2", "#eeeeec"];
const graphics = {j: "┘", k: "┐", l: "┌", m: "└", n: "┼", q: "─", t: "├", u: "┤", v: "┴", w: "┬", x: "│", a: "▒", "`": "◆", "~": "·", f: "°", g: "±", o: "⎺", s: "⎽", y: "≤", z: "≥"};
const plain = {fg: null, bg: null, bold: false, underline: false, inverse: false};
const maxString = 65536; // of an operating system command, before text is shown again

// colour returns a colour of the 256 of xterm.
function colour(n) {
  if (n < 16) return palette[n];
  if (n > 231) { const v = 8 + (n - 232) * 10; return `rgb(${v},${v},${v})`; }
  const level = (i) => i ? 55 + i * 40 : 0;
  n -= 16;
  return `rgb(${level(Math.floor(n / 36))},${level(Math.floor(n / 6) % 6)},${level(n % 6)})`;
}

function isWide(c) {
  return c >= 0x1100 && (c <= 0x115f || c >= 0x2e80 && c <= 0xa4cf || c >= 0xac00 && c <= 0xd7a3 || c >= 0xf900 && c <= 0xfaff ||
    c >= 0xfe30 && c <= 0xfe6f || c >= 0xff00 && c <= 0xff60 || c >= 0xffe0 && c <= 0xffe6 || c >= 0x1f300 && c <= 0x1faff || c >= 0x20000 && c <= 0x3fffd);
}

// Screen is the part of a terminal (ECMA-48, xterm's ctlseqs) that changes the picture.
class Screen {
  constructor(columns, rows) {
    this.main = null; // the lines of the main screen while the alternate one is on
    this.resize(columns, rows);
    this.reset();
  }

  reset() {
    this.style = plain;
    this.x = this.y = 0;
    this.saved = {x: 0, y: 0, style: plain};
    this.top = 0;
    this.bottom = this.rows - 1;
    this.wrap = true;
    this.insert = this.wrapNext = this.hidden = this.origin = false;
    this.charsets = ["B", "B"];
    this.charset = 0;
    this.last = " ";
    this.parse = this.ground;
    this.lines = this.blank();
  }

  blank() { return Array.from({length: this.rows}, () => this.emptyLine()); }
  emptyLine() { return Array.from({length: this.columns}, () => this.emptyCell()); }
  emptyCell() { return {text: " ", style: this.style && this.style.bg ? {...plain, bg: this.style.bg} : plain}; }

  resize(columns, rows) {
    const clamp = (n) => Math.max(1, Math.min(1000, n || 1));
    this.columns = clamp(columns);
    this.rows = clamp(rows);
    const fit = (lines) => {
      while (lines.length > this.rows) lines.splice(lines.length - 1 > this.y ? lines.length - 1 : 0, 1);
      while (lines.length < this.rows) lines.push(this.emptyLine());
      for (const line of lines) {
        line.length = Math.min(line.length, this.columns);
        while (line.length < this.columns) line.push(this.emptyCell());
      }
      return lines;
    };
    this.lines = fit(this.lines || []);
    if (this.main) this.main = fit(this.main);
    this.top = 0;
    this.bottom = this.rows - 1;
    this.move(this.x || 0, this.y || 0);
  }

  move(x, y) {
    this.x = Math.max(0, Math.min(this.columns - 1, x));
    this.y = Math.max(0, Math.min(this.rows - 1, y));
    this.wrapNext = false;
  }

  write(text) { for (const c of text) this.parse(c); }

  ground(c) {
    const code = c.codePointAt(0);
    if (code >= 0x20 && code !== 0x7f && !(code >= 0x80 && code < 0xa0)) return this.put(c);
    switch (c) {
    case "\x1b": this.parse = this.escape; break;
    case "\b": this.move(this.x - 1, this.y); break;
    case "\t": this.move(Math.min(this.columns - 1, (this.x >> 3) + 1 << 3), this.y); break;
    case "\n": case "\v": case "\f": this.lineFeed(); break;
    case "\r": this.move(0, this.y); break;
    case "\x0e": this.charset = 1; break;
    case "\x0f": this.charset = 0; break;
    }
  }

  put(c) {
    if (/\p{M}/u.test(c)) { // combines with what is there, a few at most
      const cell = this.lines[this.y][Math.max(0, this.x - 1)];
      if (cell.text.length < 16) cell.text += c;
      return;
    }
    if (this.charsets[this.charset] === "0" && graphics[c]) c = graphics[c];
    if (this.wrapNext && this.wrap) { this.move(0, this.y); this.lineFeed(); }
    const wide = isWide(c.codePointAt(0)), line = this.lines[this.y];
    if (this.insert) { line.splice(this.x, 0, this.emptyCell()); line.length = this.columns; }
    line[this.x] = {text: c, style: this.style};
    if (wide && this.x + 1 < this.columns) line[++this.x] = {text: "", style: this.style};
    this.last = c;
    if (this.x + 1 < this.columns) this.x++; else this.wrapNext = true;
  }

  lineFeed() {
    if (this.y === this.bottom) this.scroll(1); else this.move(this.x, this.y + 1);
  }

  // scroll moves the lines of the region up, or down for a negative number.
  scroll(n, from = this.top) {
    for (let i = Math.min(Math.abs(n), this.rows); i > 0; i--) {
      this.lines.splice(n > 0 ? from : this.bottom, 1);
      this.lines.splice(n > 0 ? this.bottom : from, 0, this.emptyLine());
    }
  }

  escape(c) {
    this.parse = this.ground;
    switch (c) {
    case "[": this.sequence = ""; this.parse = this.control; break;
    case "]": case "P": case "X": case "^": case "_": case "k": this.length = 0; this.parse = this.string; break;
    case "(": this.parse = (set) => { this.charsets[0] = set; this.parse = this.ground; }; break;
    case ")": this.parse = (set) => { this.charsets[1] = set; this.parse = this.ground; }; break;
    case "#": case "%": case "*": case "+": this.parse = () => { this.parse = this.ground; }; break;
    case "7": this.save(); break;
    case "8": this.restore(); break;
    case "D": this.lineFeed(); break;
    case "E": this.move(0, this.y); this.lineFeed(); break;
    case "M": if (this.y === this.top) this.scroll(-1); else this.move(this.x, this.y - 1); break;
    case "c": this.main = null; this.reset(); break;
    case "\x1b": this.parse = this.escape; break;
    }
  }

  // string swallows what is no part of the picture, up to BEL or ST.
  string(c) {
    if (c === "\x1b") this.parse = this.escape; // of which ST is one that does nothing
    else if (c === "\x07" || ++this.length > maxString) this.parse = this.ground;
  }

  save() { this.saved = {x: this.x, y: this.y, style: this.style}; }
  restore() { this.style = this.saved.style; this.move(this.saved.x, this.saved.y); }

  control(c) {
    const code = c.codePointAt(0);
    if (code < 0x20) { this.parse = this.ground; this.ground(c); return; }
    if (code < 0x40) { if (this.sequence.length < 64) this.sequence += c; return; }
    this.parse = this.ground;
    if (/[ !"$'>=<]/.test(this.sequence)) return;
    if (this.sequence[0] === "?") return this.modes(this.sequence.slice(1), c);
    const numbers = this.sequence.split(/[;:]/).map((n) => Math.min(9999, parseInt(n, 10) || 0));
    if (c === "m") return this.attributes(numbers);
    this.picture(c, numbers[0], numbers[1] || 0);
  }

  picture(c, first, second) {
    const n = Math.max(1, first), line = this.lines[this.y];
    switch (c) {
    case "A": this.move(this.x, this.y - n); break;
    case "B": case "e": this.move(this.x, this.y + n); break;
    case "C": case "a": this.move(this.x + n, this.y); break;
    case "D": this.move(this.x - n, this.y); break;
    case "E": this.move(0, this.y + n); break;
    case "F": this.move(0, this.y - n); break;
    case "G": case "`": this.move(n - 1, this.y); break;
    case "H": case "f": this.move(Math.max(1, second) - 1, n - 1 + (this.origin ? this.top : 0)); break;
    case "d": this.move(this.x, n - 1 + (this.origin ? this.top : 0)); break;
    case "I": this.move((this.x >> 3) + n << 3, this.y); break;
    case "Z": this.move(Math.max(0, (this.x + 7 >> 3) - n << 3), this.y); break;
    case "J": this.erase(first === 1 ? 0 : this.y + (first === 0 ? 1 : 0), first === 1 ? this.y : this.rows, first); break;
    case "K": this.eraseLine(first); break;
    case "L": if (this.y >= this.top && this.y <= this.bottom) this.scroll(-n, this.y); break;
    case "M": if (this.y >= this.top && this.y <= this.bottom) this.scroll(n, this.y); break;
    case "P": line.splice(this.x, n); while (line.length < this.columns) line.push(this.emptyCell()); break;
    case "@": for (let i = Math.min(n, this.columns); i > 0; i--) line.splice(this.x, 0, this.emptyCell()); line.length = this.columns; break;
    case "X": for (let i = this.x; i < Math.min(this.columns, this.x + n); i++) line[i] = this.emptyCell(); break;
    case "S": this.scroll(n); break;
    case "T": this.scroll(-n); break;
    case "b": for (let i = Math.min(n, this.columns * this.rows); i > 0; i--) this.put(this.last); break;
    case "r": this.region(n - 1, (second || this.rows) - 1); break;
    case "s": this.save(); break;
    case "u": this.restore(); break;
    case "h": case "l": if (first === 4) this.insert = c === "h"; break;
    }
  }

  region(top, bottom) {
    if (top >= bottom) return;
    this.top = top;
    this.bottom = Math.min(bottom, this.rows - 1);
    this.move(0, this.origin ? this.top : 0);
  }

  // erase blanks whole lines, and the part of the cursor's own that belongs to them.
  erase(from, to, how) {
    if (how > 2) return;
    if (how === 2) from = 0; else this.eraseLine(how);
    for (let y = from; y < to; y++) this.lines[y] = this.emptyLine();
  }

  eraseLine(how) {
    const line = this.lines[this.y];
    for (let x = how === 0 ? this.x : 0; x < (how === 1 ? this.x + 1 : this.columns); x++) line[x] = this.emptyCell();
  }

  modes(list, c) {
    const on = c === "h";
    if (c !== "h" && c !== "l") return;
    for (const mode of list.split(";")) {
      switch (mode) {
      case "6": this.origin = on; this.move(0, on ? this.top : 0); break;
      case "7": this.wrap = on; break;
      case "25": this.hidden = !on; break;
      case "1048": if (on) this.save(); else this.restore(); break;
      case "47": case "1047": case "1049": this.alternate(on, mode === "1049"); break;
      }
    }
  }

  alternate(on, cursor) {
    if (on === Boolean(this.main)) return;
    if (on) {
      if (cursor) this.save();
      this.main = this.lines;
      this.lines = this.blank();
      return;
    }
    this.lines = this.main;
    this.main = null;
    if (cursor) this.restore();
  }

  attributes(numbers) {
    for (let i = 0; i < numbers.length; i++) {
      const n = numbers[i], s = {...this.style};
      if (n === 0) { this.style = plain; continue; }
      if (n === 1) s.bold = true;
      else if (n === 22) s.bold = false;
      else if (n === 4) s.underline = true;
      else if (n === 24) s.underline = false;
      else if (n === 7) s.inverse = true;
      else if (n === 27) s.inverse = false;
      else if (n >= 30 && n <= 37) s.fg = palette[n - 30];
      else if (n >= 90 && n <= 97) s.fg = palette[n - 82];
      else if (n === 39) s.fg = null;
      else if (n >= 40 && n <= 47) s.bg = palette[n - 40];
      else if (n >= 100 && n <= 107) s.bg = palette[n - 92];
      else if (n === 49) s.bg = null;
      else if (n === 38 || n === 48) {
        let value = null;
        if (numbers[i + 1] === 5) { value = colour(Math.min(255, numbers[i + 2] || 0)); i += 2; }
        else if (numbers[i + 1] === 2) { value = `rgb(${numbers.slice(i + 2, i + 5).map((v) => Math.min(255, v)).join(",")})`; i += 4; }
        s[n === 38 ? "fg" : "bg"] = value;
      }
      this.style = s;
    }
  }

  // draw puts the picture in a <pre>.
  draw(pre) {
    const page = document.createDocumentFragment();
    for (let y = 0; y < this.rows; y++) {
      let span = null, style = null;
      for (let x = 0; x < this.columns; x++) {
        let cell = this.lines[y][x];
        const cursor = x === this.x && y === this.y && !this.hidden;
        if (cell.style !== style || cursor || span === null) {
          span = document.createElement("span");
          const [fg, bg] = cell.style.inverse !== cursor ? [cell.style.bg || "#111", cell.style.fg || "#ddd"] : [cell.style.fg, cell.style.bg];
          if (fg) span.style.color = fg;
          if (bg) span.style.backgroundColor = bg;
          if (cell.style.bold) span.style.fontWeight = "bold";
          if (cell.style.underline) span.style.textDecoration = "underline";
          page.append(span);
        }
        style = cursor ? null : cell.style;
        span.append(cell.text);
      }
      page.append("\n");
    }
    pre.replaceChildren(page);
  }
}

// readCast decodes a recording; lines that are no events are left out.
function readCast(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const lines = new TextDecoder().decode(bytes).split("\n");
  const header = JSON.parse(lines[0]), events = [];
  for (const line of lines.slice(1)) {
    try {
      const [time, code, data] = JSON.parse(line);
      if (typeof time === "number" && typeof code === "string" && typeof data === "string") events.push({time, code, data});
    } catch { /* the torn end of a live recording */ }
  }
  return {columns: header.width, rows: header.height, events};
}

// Player shows one recording below an element with data-cast.
class Player {
  constructor(element) {
    this.cast = readCast(element.dataset.cast);
    this.duration = this.cast.events.length ? this.cast.events[this.cast.events.length - 1].time : 0;
    this.find = (name) => element.querySelector("." + name);
    this.screen = this.find("screen");
    this.keys = this.find("keys");
    this.playing = false;
    this.now = 0;
    this.button("toggle", () => this.toggle());
    this.button("back", () => this.jump(-1));
    this.button("forward", () => this.jump(1));
    this.find("position").max = this.duration;
    this.find("position").addEventListener("input", (e) => this.seek(Number(e.target.value)));
    element.addEventListener("keydown", (e) => { if (e.key === " " && e.target.tagName !== "BUTTON") { e.preventDefault(); this.toggle(); } });
    this.seek(0);
  }

  button(name, action) { this.find(name).addEventListener("click", action); }
  speed() { return Number(this.find("speed").value) || 1; }

  toggle() {
    this.playing = !this.playing;
    this.find("toggle").textContent = this.playing ? "Pause" : "Play";
    if (!this.playing) return;
    if (this.now >= this.duration) this.seek(0);
    this.drawn = performance.now();
    requestAnimationFrame((at) => this.tick(at));
  }

  tick(at) {
    if (!this.playing) return;
    const idle = Number(this.find("idle").value), next = this.cast.events[this.next];
    let now = this.now + Math.max(0, at - this.drawn) / 1000 * this.speed();
    if (idle && next && next.time - this.now > idle * this.speed()) now = Math.max(now, next.time - idle * this.speed());
    this.drawn = at;
    this.advance(now);
    if (this.now >= this.duration) this.toggle();
    else requestAnimationFrame((t) => this.tick(t));
  }

  // seek shows the picture of a moment; it has to be made from the beginning.
  seek(time) {
    this.picture = new Screen(this.cast.columns, this.cast.rows);
    this.next = 0;
    this.typed = "";
    this.advance(Math.max(0, Math.min(this.duration, time)));
  }

  // jump goes to the marker before or after the moment.
  jump(direction) {
    const marks = this.cast.events.filter((e) => e.code === "m").map((e) => e.time);
    const to = direction > 0 ? marks.find((t) => t > this.now) : marks.reverse().find((t) => t < this.now - 0.5);
    this.seek(to === undefined ? direction > 0 ? this.duration : 0 : to);
  }

  advance(time) {
    const events = this.cast.events;
    for (; this.next < events.length && events[this.next].time <= time; this.next++) {
      const {code, data} = events[this.next];
      if (code === "o") this.picture.write(data);
      else if (code === "i") this.typed = (this.typed + data).slice(-400);
      else if (code === "r") this.picture.resize(...data.split("x").map(Number));
    }
    this.now = time;
    this.picture.draw(this.screen);
    this.keys.textContent = this.typed.replace(/[\x00-\x1f\x7f]/g, (c) => "^" + String.fromCharCode(c.charCodeAt(0) ^ 64));
    this.find("position").value = time;
    const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
    this.find("clock").textContent = `${clock(time)} / ${clock(this.duration)}`;
  }
}

const players = new Map();
for (const element of document.querySelectorAll("[data-cast]")) players.set(element.id, new Player(element));
// A line of the timeline goes to its moment in the recording of its channel.
for (const link of document.querySelectorAll("[data-seek]")) {
  link.addEventListener("click", () => players.get(link.dataset.player)?.seek(Number(link.dataset.seek)));
}
if (location.hash === "#end") for (const player of players.values()) player.seek(player.duration);
document.documentElement.dataset.ready = String(players.size);
