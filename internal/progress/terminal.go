package progress

import (
	"fmt"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"ingot/internal/plan"
)

// tail is how many lines of a running step's output are shown.
const tail = 6

// terminal draws the run in place with bubbletea; signals and keys are not its business.
type terminal struct {
	p    *tea.Program
	m    *model // the program's until done is closed
	out  *os.File
	done chan struct{}
	in   chan plan.Event
}

// NewTerminal draws on a terminal. Events are handed over in batches a dozen times a second, so that a guest that prints
// ten thousand lines costs little.
func NewTerminal(out *os.File) Display {
	t := &terminal{m: &model{steps: map[string]*stepView{}, width: 80}, out: out, done: make(chan struct{}), in: make(chan plan.Event, 1024)}
	t.p = tea.NewProgram(t.m, tea.WithOutput(out), tea.WithInput(nil), tea.WithoutSignalHandler(), tea.WithFPS(12))
	go func() {
		defer close(t.done)
		t.p.Run() //nolint:errcheck // a terminal that cannot be drawn on does not stop a build
	}()
	go func() {
		var batch []plan.Event
		tick := time.NewTicker(80 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case e, open := <-t.in:
				if !open {
					t.p.Send(batchMsg(batch))
					t.p.Send(endMsg{})
					return
				}
				batch = append(batch, e)
			case <-tick.C:
				if len(batch) > 0 {
					t.p.Send(batchMsg(batch))
					batch = nil
				} else {
					t.p.Send(tickMsg{})
				}
			}
		}
	}()
	return t
}

func (t *terminal) Event(e plan.Event) { t.in <- e }

func (t *terminal) Close() error {
	close(t.in)
	<-t.done
	// What bubbletea draws in place is cut to the terminal's height; what stays to be read afterwards is whole.
	_, err := lipgloss.Fprint(t.out, t.m.draw())
	return err
}

type (
	batchMsg []plan.Event
	tickMsg  struct{}
	endMsg   struct{}
)

type stepView struct {
	title, state, note string // state: running, done, failed, undoing, undone, left
	began              time.Time
	took               time.Duration
	lines              []string
	err                string
}

// model is what is drawn.
type model struct {
	title   string
	order   []string
	steps   map[string]*stepView
	total   int
	now     time.Time // of the last event
	start   time.Time
	verdict string
	notice  string
	end     string
	width   int
	height  int // 0 is unknown
	frame   int
	over    bool
}

func (m *model) Init() tea.Cmd { return nil }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 20), msg.Height
	case batchMsg:
		for _, e := range msg {
			m.event(e)
		}
		m.frame++
	case tickMsg:
		m.frame++
	case endMsg:
		m.over = true
		return m, tea.Quit
	}
	return m, nil
}

func (m *model) event(e plan.Event) {
	if e.Kind == plan.Notice { // from outside the run: its time is another clock's
		m.notice = printable(e.Text)
		return
	}
	m.now = e.Time
	if m.start.IsZero() {
		m.start = e.Time
	}
	s := m.steps[e.Step]
	if s == nil && e.Step != "" {
		s = &stepView{title: e.Title}
		m.steps[e.Step] = s
		m.order = append(m.order, e.Step)
	}
	switch e.Kind {
	case plan.RunStarted:
		m.title, m.total = e.Title+", run "+e.Run, len(e.Plan.Steps)
	case plan.StepStarted:
		*s = stepView{title: e.Title, state: "running", began: e.Time}
	case plan.StepOutput:
		s.lines = append(s.lines, printable(e.Text))
		if len(s.lines) > tail {
			s.lines = s.lines[len(s.lines)-tail:]
		}
	case plan.StepProgress:
		s.note = printable(e.Text)
	case plan.StepDone, plan.StepSkipped:
		s.state, s.took = "done", e.Elapsed
	case plan.StepFailed:
		s.state, s.took, s.err = "failed", e.Elapsed, printable(e.Err)
	case plan.UndoStarted:
		s.state, s.began = "undoing", e.Time
	case plan.UndoDone:
		s.state, s.took = "undone", e.Elapsed
	case plan.UndoFailed:
		s.state, s.err = "left", printable(e.Err)
	case plan.Verdict:
		m.verdict = string(e.Outcome)
		if e.Err != "" {
			m.verdict += ": " + printable(e.Err)
		}
	case plan.RunFinished:
		m.end = fmt.Sprintf("%s in %s", e.Outcome, Short(e.Elapsed))
	}
}

func (m *model) View() tea.View {
	if m.over { // Close writes the end
		return tea.NewView("")
	}
	return tea.NewView(m.draw())
}

func (m *model) draw() string {
	green, red, dim, bold := lipgloss.NewStyle().Foreground(lipgloss.Green), lipgloss.NewStyle().Foreground(lipgloss.Red), lipgloss.NewStyle().Faint(true), lipgloss.NewStyle().Bold(true)
	var lines []string
	settled := map[int]bool{} // lines of steps that nothing will change any more
	put := func(s string) { lines = append(lines, ansi.Truncate(s, m.width, "…")) }
	settle := func(s string) { settled[len(lines)] = true; put(s) }
	if m.title == "" {
		return ""
	}
	put(bold.Render(m.title))
	done := 0
	for _, id := range m.order {
		s := m.steps[id]
		spin := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[m.frame%10])
		switch s.state {
		case "running":
			put(fmt.Sprintf("%s %s  %s %s", spin, s.title, Short(m.now.Sub(s.began)), dim.Render(s.note)))
			for _, l := range s.lines {
				put("    " + dim.Render(l))
			}
		case "done":
			done++
			settle(green.Render("✓") + " " + s.title + dim.Render("  "+Short(s.took)))
		case "failed":
			put(red.Render("✗") + " " + s.title + dim.Render("  "+Short(s.took)))
		case "undoing":
			put(spin + " " + dim.Render("removing: ") + s.title)
		case "undone":
			done++
			settle(green.Render("✓") + " " + s.title + dim.Render("  removed"))
		case "left":
			put(red.Render("!") + " " + s.title + red.Render("  NOT removed: "+strings.ReplaceAll(s.err, "\n", " ")))
		}
	}
	if m.verdict != "" && !strings.HasPrefix(m.verdict, string(plan.Succeeded)) {
		for _, l := range strings.Split(m.verdict, "\n") {
			put(red.Render(l))
		}
	}
	if m.notice != "" && m.end == "" {
		put(bold.Render(m.notice))
	}
	if m.end != "" {
		put(bold.Render(m.end))
	} else {
		put(dim.Render(fmt.Sprintf("%d of %d steps, %s", done, m.total, Short(m.now.Sub(m.start)))))
	}
	if !m.over {
		lines = fold(lines, settled, m.height, green.Render("✓"))
	}
	return strings.Join(lines, "\n") + "\n"
}

// fold puts one line in the place of the first settled ones where there are more lines than rows, so that what is still
// going on stays in sight. A height of 0 is unknown.
func fold(lines []string, settled map[int]bool, height int, mark string) []string {
	excess := len(lines) + 1 - height // a row for the cursor
	if height == 0 || excess <= 0 || len(settled) < 2 {
		return lines
	}
	var out []string
	folded, at := 0, 0
	for i, l := range lines {
		if !settled[i] || folded > excess { // one more, for the line that says so
			out = append(out, l)
			continue
		}
		if folded == 0 {
			at = len(out)
			out = append(out, "")
		}
		folded++
	}
	out[at] = fmt.Sprintf("%s %d steps", mark, folded)
	return out
}
