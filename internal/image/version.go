package image

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CompareVersions orders dotted numbers as Azure does: field by field as numbers, so that 1.10.0 comes after 1.9.0 and
// 26100.4061.250510 after 26100.3775.250406. A field that is no number sorts before every number.
func CompareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := cmp.Compare(field(as, i), field(bs, i)); c != 0 {
			return c
		}
	}
	return strings.Compare(a, b)
}

func field(fields []string, i int) int64 {
	if i >= len(fields) {
		return -1
	}
	n, err := strconv.ParseInt(fields[i], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Newest returns the highest of versions, or "".
func Newest(versions []string) string {
	if len(versions) == 0 {
		return ""
	}
	return slices.MaxFunc(versions, CompareVersions)
}

// NextVersion is the version that "auto" stands for: the patch after the highest, or 1.0.0 for the first. Every part of a
// gallery version is a 32-bit number (https://learn.microsoft.com/azure/virtual-machines/azure-compute-gallery), so a patch
// that would pass the limit is an error.
func NextVersion(existing []string) (string, error) {
	newest := Newest(existing)
	if newest == "" {
		return "1.0.0", nil
	}
	parts := strings.Split(newest, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("cannot count on from version %q: it is not Major.Minor.Patch", newest)
	}
	patch, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || patch == 1<<31-1 {
		return "", fmt.Errorf("cannot count on from version %q: its patch is no 32-bit number below the highest", newest)
	}
	return fmt.Sprintf("%s.%s.%d", parts[0], parts[1], patch+1), nil
}
