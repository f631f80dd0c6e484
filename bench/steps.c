// Steps through a thread one instruction at a time, and writes a pair of 64-bit words for each: the address, and
// the number of the system call + 1 (0 for other instructions). x86-64. See ptrace(2).
//
//   steps PID COUNT > FILE

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define SYSCALL 0x050f // the instruction, as a 16-bit word

int main(int count, char **words) {
  if (count < 3) return 2;
  const int pid = atoi(words[1]);
  const long steps = atol(words[2]);
  if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) != 0) {
    perror("ptrace");
    return 1;
  }
  int status;
  if (waitpid(pid, &status, __WALL) < 0) return 1;
  for (long step = 0; step < steps; step++) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0) return 1;
    const long word = ptrace(PTRACE_PEEKTEXT, pid, (void *)registers.rip, NULL);
    const uint64_t here[2] = {
      registers.rip,
      (word & 0xffff) == SYSCALL ? registers.rax + 1 : 0,
    };
    fwrite(here, sizeof here, 1, stdout);
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) return 1;
    if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) return 1;
  }
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
  return 0;
}
