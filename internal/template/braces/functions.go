package braces

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// functions are Packer's (https://developer.hashicorp.com/packer/docs/templates/legacy_json_templates/engine); what they find out
// about the text goes into r.
func (e *Engine) functions(r *Result) template.FuncMap {
	return template.FuncMap{
		"user": func(name string) (string, error) {
			v, ok := e.User[name]
			if !ok {
				err := &Error{Reason: fmt.Sprintf("the template does not declare variable %q", name), Remedy: "add it to variables"}
				best := diag.Nearest(name, slices.Sorted(maps.Keys(e.User)))
				if best != "" {
					err.Remedy = fmt.Sprintf("did you mean %q?", best)
				}
				return "", err
			}
			r.Secret = r.Secret || e.Secret[name]
			return v, nil
		},
		"env": func(key string) (string, error) {
			if !e.EnvAllowed || e.Env == nil {
				return "", &Error{Reason: "env may be used only in the variables section", Remedy: "add a variable with {{env `" + key + "`}} as its default, and use {{user `…`}} here"}
			}
			return e.Env(key), nil
		},
		"isotime": func(layout ...string) (string, error) {
			switch len(layout) {
			case 0:
				return e.Now.UTC().Format(time.RFC3339), nil
			case 1:
				return e.Now.UTC().Format(layout[0]), nil
			}
			return "", errors.New("isotime takes one layout")
		},
		"strftime": func(layout ...string) (string, error) {
			switch len(layout) {
			case 0:
				return e.Now.UTC().Format(time.RFC3339), nil
			case 1:
				return Strftime(e.Now.UTC(), layout[0])
			}
			return "", errors.New("strftime takes one layout")
		},
		"timestamp":           func() string { return fmt.Sprint(e.Now.Unix()) },
		"uuid":                func() string { return e.UUID() },
		"upper":               strings.ToUpper,
		"lower":               strings.ToLower,
		"replace":             func(old, with string, n int, s string) (string, error) { return replace(s, old, with, n) },
		"replace_all":         func(old, with, s string) (string, error) { return replace(s, old, with, -1) },
		"split":               split,
		"template_dir":        func() string { return e.TemplateDir },
		"pwd":                 func() string { return e.Cwd },
		"packer_version":      func() string { return e.Version },
		"build_name":          func() string { return e.BuildName },
		"build_type":          func() string { return e.BuildType },
		"clean_resource_name": CleanResourceName,
		"clean_image_name":    CleanResourceName,
		"build": func(name string) (string, error) {
			for _, known := range image.RuntimeNames() {
				if known == name {
					r.Runtime = true
					return image.Runtime(name), nil
				}
			}
			err := &Error{Reason: fmt.Sprintf("build.%s is not something that a build knows", name)}
			best := diag.Nearest(name, image.RuntimeNames())
			if best != "" {
				err.Remedy = fmt.Sprintf("did you mean %q?", best)
			}
			return "", err
		},
		"printf": func(format string, args ...any) (string, error) {
			if wide.MatchString(strings.ReplaceAll(format, "%%", "")) {
				return "", errors.New("printf has a width above 999")
			}
			// A verb makes at most its width, or six bytes of one: "% #x" and %q.
			most := len(format) + strings.Count(format, "%")*(1000+6*len(fmt.Sprint(args...)))
			if most > 16*maxOutput {
				return "", errors.New("the text becomes longer than 1 MiB")
			}
			return within(fmt.Sprintf(format, args...))
		},
		// Go's own, which grow a text each time that it passes through them.
		"js":       func(args ...any) (string, error) { return within(template.JSEscaper(args...)) },
		"html":     func(args ...any) (string, error) { return within(template.HTMLEscaper(args...)) },
		"urlquery": func(args ...any) (string, error) { return within(template.URLQueryEscaper(args...)) },
	}
}

// within refuses a text above the limit before another function makes it longer.
func within(s string) (string, error) {
	if len(s) > maxOutput {
		return "", errors.New("the text becomes longer than 1 MiB")
	}
	return s, nil
}

// wide finds a width or precision that would fill the memory, also behind an argument's number.
var wide = regexp.MustCompile(`%[^A-Za-z%]*(\d{4,}|\*)`)

func replace(s, old, with string, n int) (string, error) {
	count := strings.Count(s, old)
	if n >= 0 {
		count = min(count, n)
	}
	if len(s)+count*len(with) > maxOutput {
		return "", errors.New("the text becomes longer than 1 MiB")
	}
	return strings.Replace(s, old, with, n), nil
}

// split is one part of a text, counted from 0.
func split(s, sep string, n int) (string, error) {
	parts := strings.Split(s, sep)
	if n < 0 || n >= len(parts) {
		return "", fmt.Errorf("the text has %d parts, and part %d is asked for", len(parts), n)
	}
	return parts[n], nil
}

// Strftime formats a time by C's layout; a letter it does not know is an error.
func Strftime(t time.Time, layout string) (string, error) {
	if len(layout) > 4096 {
		return "", errors.New("the layout is longer than 4096 characters")
	}
	known := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'p': "PM", 'I': "03", 'Z': "MST", 'z': "-0700",
		'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'e': "_2", 'h': "Jan", 'c': "Mon Jan _2 15:04:05 2006", 'f': "000000", 'j': "002"}
	var b strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			b.WriteByte(layout[i])
			continue
		}
		i++
		switch c := layout[i]; c {
		case '%':
			b.WriteByte('%')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 's':
			fmt.Fprint(&b, t.Unix())
		case 'f':
			fmt.Fprintf(&b, "%06d", t.Nanosecond()/1000)
		default:
			g, ok := known[c]
			if !ok {
				return "", fmt.Errorf("strftime does not know %%%c", c)
			}
			b.WriteString(t.Format(g))
		}
	}
	return b.String(), nil
}
