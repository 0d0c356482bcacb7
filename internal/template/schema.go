package template

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ingot/internal/image"
	"ingot/internal/imagebuilder"
	"ingot/internal/provisioner"
)

// Formats are what Schema describes.
func Formats() []string { return []string{"packer-hcl", "packer-json", "image-builder", "ingot"} }

// schema is a JSON Schema, draft 2020-12.
type schema = map[string]any

//go:embed docs.json
var docsJSON []byte

// docs are the doc comments of the settings structs' fields, by struct and option; a test writes docs.json from the source.
func docs() map[string]map[string]string {
	var out map[string]map[string]string
	if err := json.Unmarshal(docsJSON, &out); err != nil {
		return nil // a test sees to it that it can be read
	}
	return out
}

// Schema is the JSON Schema of a format, for editors: packer-hcl is HCL's JSON form (*.pkr.json), ingot that of *.ingot.hcl.
func Schema(format string) ([]byte, error) {
	w := &schemaWriter{docs: docs(), texts: format != "image-builder", defs: schema{}, names: map[string]string{}}
	var s schema
	switch format {
	case "packer-hcl":
		s = w.packerHCL()
	case "packer-json":
		s = w.packerJSON()
	case "image-builder":
		s = w.imageBuilder()
	case "ingot":
		s = w.ingot()
	default:
		return nil, fmt.Errorf("cannot describe %q: the formats are %s", format, strings.Join(Formats(), ", "))
	}
	if len(w.defs) > 0 {
		s["$defs"] = w.defs
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	raw, err := json.MarshalIndent(s, "", "  ")
	return append(raw, '\n'), err
}

// schemaWriter makes schemas of settings structs. texts says that every value may be a text too, since a text may be a template.
type schemaWriter struct {
	docs  map[string]map[string]string
	texts bool
	defs  schema            // what stands in more than one place
	names map[string]string // of defs, by their text
}

// object is the schema of settings structs: what the decoder reads, and nothing else.
func (w *schemaWriter) object(more schema, settings ...any) schema {
	props := schema{}
	for _, s := range settings {
		w.fields(reflect.TypeOf(s).Elem(), props)
	}
	maps.Copy(props, more)
	if w.texts {
		props["//"] = schema{"description": "a comment"}
	}
	return schema{"type": "object", "properties": props, "additionalProperties": false}
}

func (w *schemaWriter) fields(t reflect.Type, props schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			w.fields(f.Type, props)
			continue
		}
		name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
		if name == "" || name == "-" {
			continue
		}
		s := w.value(f.Type, kind == "block")
		if d := w.docs[t.Name()][name]; d != "" {
			s["description"] = d
		}
		switch t.Name() + "." + name {
		case "State.state", "Workload.state":
			s["enum"] = []any{"Enabled", "Disabled", nil}
		case "ErrorHandling.onCustomizerError", "ErrorHandling.onValidationError":
			s["enum"] = []any{"cleanup", "abort", nil}
		}
		props[name] = s
	}
}

// value is the schema of one option.
func (w *schemaWriter) value(t reflect.Type, block bool) schema {
	kinds := func(list ...string) schema {
		if w.texts && !slices.Contains(list, "string") {
			list = append(list, "string")
		}
		list = append(list, "null")
		return schema{"type": list}
	}
	if block {
		list := t.Kind() == reflect.Slice
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		props := schema{}
		w.fields(t, props)
		one := schema{"type": "object", "properties": props, "additionalProperties": false}
		switch {
		case w.texts:
			props["//"] = schema{"description": "a comment"}
			return w.blocks(one)
		case list:
			return schema{"type": []string{"array", "null"}, "items": one}
		}
		one["type"] = []string{"object", "null"}
		return one
	}
	text := schema{"type": "string"}
	if w.texts {
		text = schema{"type": []string{"string", "number", "boolean"}}
	}
	switch {
	case t == reflect.TypeFor[image.Text](), t.Kind() == reflect.String:
		if w.texts {
			return kinds("string", "number", "boolean")
		}
		return kinds("string")
	case t.String() == "time.Duration":
		return kinds("string")
	case t.Kind() == reflect.Pointer:
		return w.value(t.Elem(), false)
	case t.Kind() == reflect.Bool:
		return kinds("boolean")
	case t.Kind() == reflect.Float64:
		return kinds("number")
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int32, t.Kind() == reflect.Int64:
		return kinds("integer")
	case t.Kind() == reflect.Slice:
		s := kinds("array")
		s["items"] = text
		if t.Elem().Kind() == reflect.Int {
			s["items"] = schema{"type": "integer"}
			if w.texts {
				s["items"] = schema{"type": []string{"integer", "string"}}
			}
		}
		return s
	case t.Kind() == reflect.Map:
		s := kinds("object")
		s["additionalProperties"] = text
		return s
	}
	return schema{} // anything
}

// blocks is a block, or a list of them, as HCL's JSON form and Packer's older language have them.
func (w *schemaWriter) blocks(one schema) schema {
	one = w.shared(one)
	return schema{"anyOf": []any{one, schema{"type": "array", "items": one}, schema{"type": "null"}}}
}

// shared writes a schema once and refers to it.
func (w *schemaWriter) shared(s schema) schema {
	raw, err := json.Marshal(s)
	if err != nil {
		return s
	}
	name := w.names[string(raw)]
	if name == "" {
		name = fmt.Sprintf("block%d", len(w.names)+1)
		w.names[string(raw)], w.defs[name] = name, s
	}
	return schema{"$ref": "#/$defs/" + name}
}

// steps are the schemas of every provisioner's settings, by kind.
func (w *schemaWriter) steps(more schema) map[string]schema {
	out := map[string]schema{}
	for _, kind := range provisioner.Kinds() {
		s, _ := provisioner.New(kind)
		out[kind] = w.object(more, s)
	}
	return out
}

// posts are the schemas of the post-processors, by kind.
func (w *schemaWriter) posts(more schema) map[string]schema {
	local, _ := provisioner.New("shell-local")
	return map[string]schema{"manifest": w.object(more, &postMeta{}, &manifestOptions{}), "shell-local": w.object(more, &postMeta{}, local), "checksum": w.object(more, &postMeta{}, &checksumOptions{}),
		"compress": w.object(more, &postMeta{}, &compressOptions{})}
}

// meta are the options that every provisioner has.
func (w *schemaWriter) meta() schema {
	props := schema{}
	w.fields(reflect.TypeFor[meta](), props)
	props["override"] = schema{"type": "object", "additionalProperties": schema{"type": "object"}}
	return props
}

func (w *schemaWriter) packerHCL() schema {
	labelled := func(of schema) schema { return w.blocks(schema{"type": "object", "additionalProperties": of}) }
	kinds := func(list map[string]schema) schema {
		props := schema{}
		for k, s := range list {
			props[k] = w.blocks(s)
		}
		return w.blocks(schema{"type": "object", "properties": props, "additionalProperties": false})
	}
	dynamic := schema{"description": "dynamic blocks, by the type of the block they make"}
	arm := w.object(schema{"dynamic": dynamic}, &azureARM{})
	step := w.steps(w.meta())
	post := kinds(w.posts(nil))
	build := w.object(schema{"dynamic": dynamic, "provisioner": kinds(step), "error-cleanup-provisioner": kinds(step), "post-processor": post,
		"post-processors": w.blocks(w.object(schema{"post-processor": post})), "hcp_packer_registry": schema{}, "source": labelled(w.blocks(w.object(schema{"dynamic": dynamic, "name": schema{"type": "string"}}, &azureARM{})))}, &buildHead{})
	variable := w.object(schema{"type": schema{"type": "string"}, "default": schema{}, "description": schema{"type": "string"}, "sensitive": schema{"type": "boolean"},
		"validation": w.blocks(w.object(schema{"condition": schema{"type": []string{"string", "boolean"}}, "error_message": schema{"type": "string"}}))})
	return schema{"title": "Packer template in HCL's JSON form (*.pkr.json)", "type": "object", "additionalProperties": false, "properties": schema{
		"//": schema{}, "packer": w.blocks(w.object(schema{"required_version": schema{"type": "string"}, "required_plugins": schema{"type": []string{"object", "array"}}})),
		"variable": labelled(w.blocks(variable)), "variables": schema{"type": []string{"object", "array"}}, "locals": schema{"type": []string{"object", "array"}},
		"local":  labelled(w.blocks(w.object(schema{"expression": schema{}, "sensitive": schema{"type": "boolean"}}))),
		"data":   w.blocks(schema{"type": "object", "properties": schema{"azure-keyvaultsecret": labelled(w.blocks(w.object(nil, &keyVaultSecret{})))}}),
		"source": w.blocks(schema{"type": "object", "properties": schema{"azure-arm": labelled(w.blocks(arm))}, "additionalProperties": schema{"type": []string{"object", "array"}}}), "build": w.blocks(build), "hcp_packer_registry": schema{}}}
}

// ofKind chooses among schemas by the member type.
func ofKind(list map[string]schema) schema {
	var all []any
	for _, k := range keys(list) {
		all = append(all, schema{"if": schema{"properties": schema{"type": schema{"const": k}}, "required": []string{"type"}}, "then": list[k]})
	}
	return schema{"type": "object", "required": []string{"type"}, "properties": schema{"type": schema{"enum": keys(list)}}, "allOf": all}
}

func (w *schemaWriter) packerJSON() schema {
	typ := schema{"type": schema{"type": "string"}}
	step := w.meta()
	step["type"] = typ["type"]
	steps := ofKind(w.steps(step))
	posts := ofKind(w.posts(typ))
	names := schema{"type": "string"}
	builder := w.object(schema{"type": schema{"const": "azure-arm"}, "name": names}, &azureARM{})
	builder["required"] = []string{"type"}
	return schema{"title": "Packer template in its older JSON", "type": "object", "required": []string{"builders"}, "additionalProperties": false, "patternProperties": schema{"^_": schema{"description": "a comment"}}, "properties": schema{
		"variables": schema{"type": "object", "additionalProperties": schema{"type": []string{"string", "number", "boolean", "null"}}}, "sensitive-variables": schema{"type": "array", "items": names},
		"builders": schema{"type": "array", "minItems": 1, "items": builder}, "provisioners": schema{"type": []string{"array", "null"}, "items": steps}, "error-cleanup-provisioner": steps,
		"post-processors":    schema{"type": "array", "items": schema{"anyOf": []any{names, posts, schema{"type": "array", "items": schema{"anyOf": []any{names, posts}}}}}},
		"min_packer_version": names, "description": names, "push": schema{}}}
}

func (w *schemaWriter) imageBuilder() schema {
	all := w.object(nil, &imagebuilder.Template{})
	props := all["properties"].(schema)
	props["type"] = schema{"const": imagebuilder.Type}
	props["apiVersion"] = schema{"enum": imagebuilder.APIVersions()}
	props["identity"] = w.object(schema{"type": schema{"const": "UserAssigned"}, "userAssignedIdentities": schema{"type": "object", "minProperties": 1, "maxProperties": 1}}, &imagebuilder.Identity{})
	for _, name := range beside() {
		props[name] = schema{}
	}
	all["required"] = []string{"location", "identity", "properties"}
	one := func(t reflect.Type, names []string, required ...string) schema {
		full := schema{}
		w.fields(t, full)
		out := schema{}
		for _, n := range names {
			out[n] = full[n]
		}
		return schema{"type": "object", "properties": out, "additionalProperties": false, "required": required}
	}
	types := imagebuilder.OfType()
	steps := func(kinds ...string) schema {
		list := map[string]schema{}
		for _, k := range kinds {
			s := one(reflect.TypeFor[imagebuilder.Step](), types[k], "type")
			switch k {
			case "File":
				s["required"] = []string{"type", "sourceUri", "destination"}
			case "Shell", "PowerShell":
				s["oneOf"] = []any{schema{"required": []string{"scriptUri"}}, schema{"required": []string{"inline"}}}
			}
			if p := s["properties"].(schema); p["sha256Checksum"] != nil {
				p["sha256Checksum"] = schema{"type": "string", "pattern": "^([0-9a-f]{64})?$"}
			}
			list[k] = s
		}
		return schema{"type": "array", "items": ofKind(list)}
	}
	body := w.object(nil, &imagebuilder.Properties{})
	p := body["properties"].(schema)
	p["customize"] = steps("Shell", "PowerShell", "File", "WindowsRestart", "WindowsUpdate")
	p["validate"] = w.object(schema{"inVMValidations": steps("Shell", "PowerShell", "File")}, &struct {
		Continue   bool `hcl:"continueDistributeOnFailure"`
		SourceOnly bool `hcl:"sourceValidationOnly"`
	}{})
	p["source"] = ofKind(map[string]schema{"PlatformImage": one(reflect.TypeFor[imagebuilder.Source](), types["PlatformImage"], "type", "publisher", "offer", "sku", "version"), "ManagedImage": one(reflect.TypeFor[imagebuilder.Source](), types["ManagedImage source"], "type", "imageId"),
		"SharedImageVersion": one(reflect.TypeFor[imagebuilder.Source](), types["SharedImageVersion"], "type", "imageVersionId")})
	p["distribute"] = schema{"type": "array", "minItems": 1, "items": ofKind(map[string]schema{"ManagedImage": one(reflect.TypeFor[imagebuilder.Distribute](), types["ManagedImage"], "type", "runOutputName", "imageId", "location"),
		"SharedImage": one(reflect.TypeFor[imagebuilder.Distribute](), types["SharedImage"], "type", "runOutputName", "galleryImageId"), "VHD": one(reflect.TypeFor[imagebuilder.Distribute](), types["VHD"], "type", "runOutputName")})}
	p["buildTimeoutInMinutes"] = schema{"type": "integer", "anyOf": []any{schema{"const": 0}, schema{"minimum": 6, "maximum": 960}}, "description": p["buildTimeoutInMinutes"].(schema)["description"]}
	for _, name := range []string{"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"} {
		p[name] = schema{"readOnly": true}
	}
	body["required"] = []string{"source", "distribute"}
	props["properties"] = body
	expression := schema{"type": "string", "pattern": `^\[`}
	template := schema{"if": schema{"properties": schema{"type": schema{"const": imagebuilder.Type}}, "required": []string{"type"}}, "then": orExpression(all, expression)}
	deployment := schema{"type": "object", "required": []string{"resources"}, "properties": schema{"resources": schema{"anyOf": []any{schema{"type": "array", "items": template}, schema{"type": "object", "additionalProperties": template}}}}}
	return schema{"title": "Azure Image Builder template, by itself or in a deployment template", "if": schema{"required": []string{"resources"}}, "then": deployment, "else": all}
}

// orExpression lets every value of a schema be an ARM expression instead.
func orExpression(s schema, expression schema) schema {
	var walk func(v any) any
	walk = func(v any) any {
		m, ok := v.(schema)
		if !ok {
			if list, isList := v.([]any); isList {
				out := make([]any, len(list))
				for i, x := range list {
					out[i] = walk(x)
				}
				return out
			}
			return v
		}
		out := schema{}
		for k, x := range m {
			switch k {
			case "properties":
				props := schema{"copy": schema{}}
				for name, p := range x.(schema) {
					if name == "type" {
						props[name] = p
						continue
					}
					props[name] = schema{"anyOf": []any{expression, walk(p)}}
				}
				out[k] = props
			case "items":
				out[k] = schema{"anyOf": []any{expression, walk(x)}}
			case "if", "required", "enum", "const":
				out[k] = x
			default:
				out[k] = walk(x)
			}
		}
		return out
	}
	return walk(s).(schema)
}

func (w *schemaWriter) ingot() schema {
	file := w.object(nil, &ingotFile{})
	props := file["properties"].(schema)
	pool := w.object(nil, &ingotHostPool{})
	props["host_pool"] = w.blocks(schema{"type": "object", "additionalProperties": w.blocks(pool)})
	tests := schema{}
	for _, kind := range testKinds() {
		s, _ := provisioner.New(kind)
		tests[kind] = w.blocks(w.object(nil, &ingotTest{}, s))
	}
	props["test"] = w.blocks(schema{"type": "object", "properties": tests, "additionalProperties": false})
	avd := schema{}
	for name, make := range avdKinds() {
		avd[name] = w.blocks(w.object(nil, &avdScope{}, make()))
	}
	props["avd_customizer"] = w.blocks(schema{"type": "object", "properties": avd, "additionalProperties": false})
	file["title"] = "What neither Packer nor Image Builder can say (*.ingot.hcl, in HCL's JSON form)"
	return file
}
