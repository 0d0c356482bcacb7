package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LeaseLength is how long a process holds a run after its last sign of life. One that is killed leaves the run locked that
// long at most; one that cannot reach the store for LeaseGiveUp stops, so that there are never two.
// 60 s is the longest finite lease that Azure gives on a blob (rest/api/storageservices/lease-blob).
const LeaseLength = 60 * time.Second

// Lease is how a process keeps hold of a run: it gives a sign of life every Every, and gives up when none has got through for
// GiveUp. Both ends measure with their own clock; no two clocks are ever compared.
type Lease struct {
	Length time.Duration // 0 is LeaseLength
}

func (l Lease) length() time.Duration {
	if l.Length > 0 {
		return l.Length
	}
	return LeaseLength
}

// Every is the time between two signs of life.
func (l Lease) Every() time.Duration { return l.length() / 6 }

// GiveUp is how long nothing may get through before the holder stops.
func (l Lease) GiveUp() time.Duration { return l.length() * 5 / 6 }

// Keeper keeps a lease.
type Keeper struct {
	lost  chan struct{}
	stop  context.CancelFunc
	ended chan struct{}
	once  sync.Once
}

// Keep gives a sign of life with beat, again and again until Close. beat answers ErrLost when somebody else has the run; any
// other error means that nothing got through. The lease is taken to have been had at the moment of the call. Time is real time:
// the other side is another process.
func (l Lease) Keep(beat func(context.Context) error) *Keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{lost: make(chan struct{}), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(k.ended)
		for last := time.Now(); ; {
			left := time.Until(last.Add(l.GiveUp()))
			if (WallClock{}).Sleep(ctx, min(l.Every(), max(left, 0))) != nil && ctx.Err() != nil {
				return
			}
			begun := time.Now()
			if left = begun.Sub(last); left >= l.GiveUp() {
				k.Lose()
				return
			}
			within, free := context.WithDeadline(ctx, last.Add(l.GiveUp()))
			err := beat(within)
			free()
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, ErrLost):
				k.Lose()
				return
			case err == nil:
				last = begun // not when the answer came: the lease counts from when it was given
			}
		}
	}()
	return k
}

// Lose gives the run up: a write has shown that it is somebody else's.
func (k *Keeper) Lose() { k.once.Do(func() { close(k.lost) }) }

// Lost is closed when the run is lost.
func (k *Keeper) Lost() <-chan struct{} { return k.lost }

// Close ends the signs of life.
func (k *Keeper) Close() {
	k.stop()
	<-k.ended
}

// Sign is a process's sign of life: whose it is, and a number that grows with each.
type Sign struct {
	Holder string `json:"holder"` // host and process, for people
	Host   string `json:"host"`
	Beat   int    `json:"beat"` // 0: let go of
	ID     string `json:"id"`   // of the holder
}

// Values is the sign as the metadata of a blob.
func (s Sign) Values() map[string]string {
	return map[string]string{"holder": s.Holder, "host": s.Host, "beat": strconv.Itoa(s.Beat), "id": s.ID}
}

// SignOf reads what Values wrote; keys come back in any case.
func SignOf(values map[string]string) Sign {
	var s Sign
	for k, v := range values {
		switch strings.ToLower(k) {
		case "holder":
			s.Holder = v
		case "host":
			s.Host = v
		case "id":
			s.ID = v
		case "beat":
			s.Beat, _ = strconv.Atoi(v) //nolint:errcheck // 0 then: nobody's
		}
	}
	return s
}

// Me is the sign of this process.
func Me(id string) Sign {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	return Sign{Holder: fmt.Sprintf("process %d on %s", os.Getpid(), host), Host: host, ID: id, Beat: 1}
}

// Outlast waits until a holder of whom nobody knows whether he lives has given no sign for the length of the lease. look reads
// the sign as it is now, and free reports that the run can be had already. A sign that changes is ErrLocked.
func (l Lease) Outlast(ctx context.Context, run string, first Sign, notice func(string), look func(context.Context) (s Sign, free bool, err error)) error {
	if notice != nil {
		notice(fmt.Sprintf("run %s is held by %s; if that is dead, its lease runs out within %s: waiting", run, first.Holder, l.length()))
	}
	until := time.Now().Add(l.length() + time.Second)
	for time.Now().Before(until) {
		if err := (WallClock{}).Sleep(ctx, min(time.Second, l.Every()/2)); err != nil {
			return err
		}
		s, free, err := look(ctx)
		switch {
		case err != nil:
			return err
		case free || s.Beat == 0:
			return nil
		case s != first:
			return fmt.Errorf("cannot take hold of run %s: %w (%s)", run, ErrLocked, s.Holder)
		}
	}
	return nil
}

// readSign reads a sign from a file; no file is no holder.
func readSign(path string) (Sign, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Sign{}, nil
	}
	var s Sign
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return Sign{}, fmt.Errorf("cannot read who holds the run: %w", err)
	}
	return s, nil
}

// writeSign replaces the file in one go, so that no reader sees half of it.
func writeSign(path string, s Sign) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := path + ".next-" + s.ID
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
