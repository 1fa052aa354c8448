package leader
import ("testing";"math/rand/v2";"github.com/sandtrap/sandtrap/internal/frame";"fmt";"os")
func TestZZ(t *testing.T){
 kinds := "HKPQLAOofDEFWRSCX"
 for i:=range 3000 {
  t.Run(fmt.Sprint(i), func(t *testing.T){
   r:=rand.New(rand.NewPCG(uint64(i),7))
   w:=newTestWorker(t)
   for number, p := range map[uint16]frame.OpenMessage{1: {Path: "/bin/cat", Argv: []string{"cat"}, Dir: "/"},2: {Path: "/bin/cat", Argv: []string{"cat"}, Dir: "/", PTY: true}} {
     if err := w.handle(frame.Frame{Type: frame.Open, Channel: number, Payload: p.Encode()}); err != nil { t.Fatal(err) } }
   var log []string
   for range r.IntN(8) { k:=frame.Type(kinds[r.IntN(len(kinds))]); b:=make([]byte, r.IntN(12)); for j:=range b { b[j]=byte(r.Uint32()) }
     if k==frame.Signal { b=[]byte(signals[r.IntN(13)].name) }
     if k==frame.Open { m:=frame.OpenMessage{Path:"/nonexistent/x",Argv:[]string{"x"},Dir:"/",PTY:r.IntN(2)==0}; b=m.Encode() }
     ch:=uint16(r.IntN(4)); log=append(log, fmt.Sprintf("%c %d %q",k,ch,b)); os.WriteFile("/tmp/lp/zz.log", []byte(fmt.Sprint(i,log)), 0o644)
     if w.handle(frame.Frame{Type:k,Channel:ch,Payload:b})!=nil { break } }
   os.WriteFile("/tmp/lp/zz.log", []byte(fmt.Sprint(i,log,"end")), 0o644)
  }) } }
