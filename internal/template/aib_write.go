package template

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/image"
	"ingot/internal/imagebuilder"
)

// writeImageBuilder makes one resource; with secrets in it, a deployment template around it whose parameters they are.
func writeImageBuilder(images []*image.Image) (Written, error) {
	if len(images) != 1 {
		return Written{}, fmt.Errorf("cannot write %d images as one Image Builder template: choose one with -only", len(images))
	}
	img := images[0]
	var out Written
	r := imagebuilder.Compile(img, imagebuilder.Options{})
	l := &losses{image: img.Name, list: r.Losses}
	s := newSecrets()
	wrapped := false
	texts := func(v any) string {
		if t, ok := v.(image.Text); ok {
			if t.Secret() != "" {
				return expression(r.Quotes[t.Secret()], "parameters('"+s.variable(t)+"')")
			}
			v = t.Reveal()
		}
		text := fmt.Sprint(v)
		// Only what ends in a bracket would be an expression: the escape would stay in "[Net.ServicePointManager]::x = y"
		// (https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions, escape characters).
		if wrapped && strings.HasPrefix(text, "[") && (strings.HasSuffix(text, "]") || strings.HasPrefix(text, "[[")) {
			return "[" + text
		}
		return text
	}
	list := func(name string) bool {
		return slices.Contains([]string{"customize", "distribute", "inVMValidations", "targetRegions", "additionalDataDisks"}, name)
	}
	render := func(depth int) []byte {
		var b bytes.Buffer
		jsonText{&b, texts, func(k string) string { return texts(k) }}.object(encode(r.Template), depth, list)
		return b.Bytes()
	}
	body := render(0)
	if len(s.list) > 0 {
		wrapped = true
		var b bytes.Buffer
		b.WriteString("{\n  \"$schema\": \"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#\",\n  \"contentVersion\": \"1.0.0.0\",\n  \"parameters\": {")
		for i, v := range s.list {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "\n    %s: {\n      \"type\": \"securestring\"\n    }", quoted(v))
		}
		b.WriteString("\n  },\n  \"resources\": [\n    ")
		b.Write(render(2))
		b.WriteString("\n  ]\n}")
		body = b.Bytes()
		l.lossy(true, "secrets", "Image Builder has no hidden values: whoever may read the template resource sees them in its customizers")
	}
	out.Text, out.Losses, out.Needs, out.value = append(body, '\n'), l.list, s.list, s.value
	return out, nil
}

// expression is an expression that makes the line of a parameter.
func expression(q imagebuilder.Quotation, parameter string) string {
	if q == (imagebuilder.Quotation{}) {
		return "[" + parameter + "]"
	}
	arm := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	return "[concat(" + arm(q.Before) + ", replace(" + parameter + ", " + arm("'") + ", " + arm(q.Quote) + "), " + arm(q.After) + ")]"
}
