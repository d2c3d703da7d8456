package emulator

import "syscall"

// quickACK has the kernel acknowledge what comes next at once. It holds for a
// while only, so it is set again and again.
func (r *reader) quickACK() {
	if raw, err := r.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
	}
}
