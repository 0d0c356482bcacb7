package template

func (l *loader) legacy(root *jsonNode) {}
