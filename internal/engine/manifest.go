package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/image"
	"ingot/internal/plan"
)

// ManifestArgs are those of a step of kind "manifest".
type ManifestArgs struct {
	Manifest image.Manifest
	Name     string
	Products []string // ids of the steps that made something
}

// manifest is the file of Packer's manifest post-processor
// (https://developer.hashicorp.com/packer/docs/post-processors/manifest): other people's scripts read it.
type manifest struct {
	Builds      []manifestBuild `json:"builds"`
	LastRunUUID string          `json:"last_run_uuid"`
}

type manifestBuild struct {
	Name          string            `json:"name"`
	BuilderType   string            `json:"builder_type"`
	BuildTime     int64             `json:"build_time,omitempty"` // Unix seconds
	Files         []string          `json:"files"`                // always null for azure-arm
	ArtifactID    string            `json:"artifact_id"`
	PackerRunUUID string            `json:"packer_run_uuid"`
	CustomData    map[string]string `json:"custom_data"`
}

// WriteManifest writes the file that lists what a build has made.
func WriteManifest() plan.Action { return plan.Typed[ManifestArgs, struct{}]{DoFunc: writeManifest} }

// writeManifest adds this build to the manifest, or replaces its entry when it was written before a crash.
func writeManifest(_ context.Context, t *plan.Task, a ManifestArgs) (struct{}, error) {
	path := a.Manifest.Output
	var m manifest
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return struct{}{}, fmt.Errorf("cannot read the manifest: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(old, &m); err != nil {
			return struct{}{}, fmt.Errorf("cannot add to the manifest %s: it is no manifest: %w", path, err)
		}
	}
	var ids []string
	for _, step := range a.Products {
		var r ProductResult
		if err := t.Result(step, &r); err != nil {
			return struct{}{}, err
		}
		ids = append(ids, r.ID)
	}
	entry := manifestBuild{Name: BuildName(a.Name), BuilderType: "azure-arm", ArtifactID: strings.Join(ids, ","), PackerRunUUID: t.Run, CustomData: a.Manifest.CustomData}
	if !a.Manifest.StripTime {
		entry.BuildTime = t.Clock().Now().Unix()
	}
	kept := m.Builds[:0]
	for _, e := range m.Builds {
		if e.PackerRunUUID != t.Run || e.Name != entry.Name {
			kept = append(kept, e)
		}
	}
	m.Builds, m.LastRunUUID = append(kept, entry), t.Run
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, replaceFile(path, append(raw, '\n'))
}

// replaceFile writes a file beside the old one and renames it, so that a crash or a full disk leaves the old one whole.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ingot-manifest-*")
	if err != nil {
		return fmt.Errorf("cannot write the manifest: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write the manifest %s: %w", path, err)
	}
	return nil
}
