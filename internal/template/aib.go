package template

func (l *loader) deployment(root *jsonNode)           {}
func (l *loader) imageTemplate(root *jsonNode, x any) {}
func (l *loader) scopeOfBare(root *jsonNode) any      { return nil }
