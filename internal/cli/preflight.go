package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

// ahead is an engine that has questions of its own before a build.
type ahead interface {
	// Ahead finds what would keep the plan from going through; denied reports that a permission is missing.
	Ahead(ctx context.Context, cloud *azure.Client, img *image.Image, f image.Facts, p *plan.Plan) (l diag.List, denied bool)
}

// checkAhead asks Azure, for all plans at once, whether they would go through, and shows everything that is found.
func (a *app) checkAhead(ctx context.Context, r *template.Result, ready []*prepared, facts []image.Facts) error {
	lists := make([]diag.List, len(ready))
	denied := make([]bool, len(ready))
	begun := time.Now()
	asked := map[*session]*engine.Asked{}
	for _, p := range ready {
		asked[p.session] = &engine.Asked{}
	}
	var wg sync.WaitGroup
	for i, p := range ready {
		wg.Go(func() {
			f := engine.Preflight{Cloud: p.session.cloud, Img: p.img, Facts: facts[i], Plan: p.plan, Asked: asked[p.session]}
			if righter, ok := engineOf(p.img).(engine.Righter); ok {
				f.Rights = righter.Rights(p.plan, facts[i])
			}
			var err error
			if _, _, _, f.Name, err = p.session.cloud.Whoami(ctx); err != nil && azure.IsAuth(err) {
				lists[i].Errorf(p.img.Pos, "sign in again", "%v", err)
				return
			}
			lists[i], denied[i] = f.Findings(ctx)
			if e, ok := engineOf(p.img).(ahead); ok {
				more, no := e.Ahead(ctx, p.session.cloud, p.img, facts[i], p.plan)
				lists[i], denied[i] = append(lists[i], more...), denied[i] || no
			}
		})
	}
	wg.Wait()
	var all diag.List
	refused := false
	for i := range ready {
		all = append(all, lists[i]...)
		refused = refused || denied[i]
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if a.json && all.HasErrors() {
		if err := diag.RenderJSON(a.Out, all); err != nil {
			return err
		}
	} else if !a.json {
		diag.Render(a.Err, all, r.Sources, a.color(a.Err))
		if took := time.Since(begun); took > time.Second {
			say(a.Err, "Checked ahead in %s.", took.Round(100*time.Millisecond))
		}
	}
	switch {
	case refused:
		return shown(exitPermission)
	case all.HasErrors():
		return shown(exitTemplate)
	}
	return nil
}

// signedIn says who the template's images are built as.
func (a *app) signedIn(ctx context.Context, ready []*prepared) error {
	told := map[string]bool{}
	for _, p := range ready {
		subscription, tenant, object, name, err := p.session.cloud.Whoami(ctx)
		if err != nil {
			return &exitError{exitPermission, err}
		}
		line := fmt.Sprintf("Signed in as %s (object id %s, tenant %s), subscription %s.", cmpText(name, object), object, tenant, subscription)
		if !told[line] {
			told[line] = true
			say(a.Err, "%s", line)
		}
	}
	return nil
}

func cmpText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
