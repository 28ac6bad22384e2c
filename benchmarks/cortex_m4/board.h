/* What a program on the board of board.c can call. */
#include <stdint.h>

/* Write a name and a number on the emulator's standard output. */
void board_report(const char *name, uint32_t number);
/* Fill the unused stack with a pattern; the bytes of stack that were used below the caller since then. */
void board_stack_mark(void);
uint32_t board_stack_used(void);
/* Instructions since the last start, in steps of 40: qemu-system-arm -icount shift=0 takes 1 ns for each. */
void board_clock_start(void);
uint32_t board_clock(void);
