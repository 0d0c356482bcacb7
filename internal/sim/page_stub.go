package sim

import (
	"net/http"
	"time"
)

func isPage(path string) bool { return path == "/" }
func (w *Azure) browse(r *http.Request, path string, raw []byte) *reply { return nil }
func (w *Azure) note(c CallRecord, began time.Time, r *http.Request, raw []byte, out *reply) {
	c.Duration = time.Since(began)
	if out != nil { c.Status = out.status }
	w.calls.add(c)
}
