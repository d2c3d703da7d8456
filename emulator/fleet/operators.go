package fleet

import (
	"bytes"
	"fmt"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// operatorsFile is the file of operators that a gateway reads (docs/operators.md).
type operatorsFile struct {
	Operators []operatorFile `yaml:"operators"`
}

type operatorFile struct {
	Name     string   `yaml:"name"`
	Prefixes []string `yaml:"prefixes,flow"`
	SMSC     struct {
		Addr         string  `yaml:"addr"`
		SystemID     string  `yaml:"system_id"`
		PasswordFile string  `yaml:"password_file"`
		Binds        int     `yaml:"binds"`
		Window       int     `yaml:"window"`
		Rate         float64 `yaml:"rate,omitempty"`
	} `yaml:"smsc"`
}

// window is how many submit_sm a gateway may have unanswered on a connection. The
// emulated centre answers at once, so it is never what holds the gateway up.
const window = 500

// OperatorsPath is the file that tells a gateway of the emulated operators.
func (e *Emulator) OperatorsPath() string { return filepath.Join(e.fleet.dir, "operators.yaml") }

func (e *Emulator) writeOperators() error {
	var f operatorsFile
	for _, c := range e.centres {
		o := operatorFile{Name: c.Name, Prefixes: []string{"+" + c.Prefix}}
		o.SMSC.Addr, o.SMSC.SystemID, o.SMSC.PasswordFile = c.Addr, c.Name, c.passwordFile()
		o.SMSC.Binds, o.SMSC.Window, o.SMSC.Rate = c.Binds, window, c.Rate
		if c.Binds == 0 {
			o.SMSC.Binds = defaultBinds
		}
		f.Operators = append(f.Operators, o)
	}
	text := bytes.NewBufferString("# The emulated operators, written anew by each start of \"imza emulator\":\n#\n")
	fmt.Fprintf(text, "#   imza gateway --operators %s --master-key %s\n\n", e.OperatorsPath(), filepath.Join(e.fleet.dir, "master.key"))
	encoder := yaml.NewEncoder(text)
	encoder.SetIndent(2)
	if err := encoder.Encode(f); err != nil {
		return err
	}
	return writeFile(e.OperatorsPath(), text.Bytes())
}
