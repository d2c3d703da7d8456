package fleet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestAccessIsKept(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAccess(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an empty folder: %v", err)
	}
	for _, want := range []Access{
		{URL: "http://127.0.0.1:8080", Providers: []Provider{{"load-1", "imza-p-a"}, {"load-2", "imza-p-b"}}, Enrolled: 100_000},
		{URL: "http://127.0.0.1:8081", Providers: []Provider{{"load-1", "imza-p-c"}}},
	} {
		if err := want.Write(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadAccess(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
	// The providers' keys are in it.
	if is, err := os.Stat(filepath.Join(dir, "load.json")); err != nil || is.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", is, err)
	}
	if err := (Access{URL: "x"}).Write(filepath.Join(dir, "none")); err == nil {
		t.Error("written into a folder that is not there")
	}
}

func TestAccessThatIsNoneIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		``: "EOF", `{`: "EOF", `[]`: "array", `{"url":"x"} {}`: "behind", `{"url":"x"}x`: "behind", `{}`: "url", `{"url":""}`: "url",
		`{"url":"x","key":"k"}`: "key", `{"url":"x","enrolled":-1}`: "enrolled", `{"url":"x","enrolled":8000001}`: "enrolled", `{"url":"x","enrolled":"1"}`: "enrolled",
		`{"url":"x","providers":[{"id":"a","key":"b"},{"id":"a"}]}`: "providers[1]",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "load.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := ReadAccess(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "load.json") || !reflect.DeepEqual(a, Access{}) {
			t.Errorf("%q: %+v %v, want %s", text, a, err, want)
		}
	}
}
