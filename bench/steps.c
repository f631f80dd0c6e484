// Single-steps a thread. For each instruction, writes its address as a 64-bit integer, and two 32-bit integers: the
// number of its system call + 1 (0 if it is not a system call), and the first argument of that call. For x86-64 only.
// See ptrace(2).
//
//   steps PID COUNT > FILE

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define SYSCALL 0x050f // the bytes of the instruction, as a little-endian 16-bit integer

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const int pid = atoi(argv[1]);
  const long steps = atol(argv[2]);
  if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) != 0) {
    perror("ptrace");
    return 1;
  }
  int status;
  if (waitpid(pid, &status, __WALL) < 0) return 1;
  for (long step = 0; step < steps; step++) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0) return 1;
    const long code = ptrace(PTRACE_PEEKTEXT, pid, (void *)registers.rip, NULL);
    const int is_call = (code & 0xffff) == SYSCALL;
    const uint64_t call = is_call ? (uint32_t)(registers.rax + 1) | registers.rdi << 32 : 0;
    const uint64_t here[2] = {registers.rip, call};
    fwrite(here, sizeof here, 1, stdout);
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) return 1;
    if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) return 1;
  }
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
  return 0;
}
