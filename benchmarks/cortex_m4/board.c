/* The start of a program on a Cortex-M4, and what it says to the emulator: qemu-system-arm -M mps2-an386. */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define PATTERN 0xC0DE57ACu
#define SYSTICK 0xE000E010u
#define LONGEST 0xFFFFFFu
/* The board's clock ticks once in 40 ns. */
#define INSTRUCTIONS 40u

extern uint32_t board_data[], board_data_end[], board_data_from[], __bss_start__[], __bss_end__[];
extern uint32_t board_stack_low[], board_stack_top[];
static uint32_t *marked;

int main(int count, char **words);

static void ask(uint32_t what, const void *with) {
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = with;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void leave(int failed) {
    ask(0x18, (const void *)(failed ? 0x20023u : 0x20026u));
    for (;;) {
    }
}

/* What printf of the C library calls. */
int _write(int file, const char *text, int count) {
    (void)file;
    for (int i = 0; i < count; i++) ask(0x03, text + i);
    return count;
}

void board_report(const char *name, uint32_t number) {
    char text[12];
    char *place = text + sizeof text;
    *--place = 0;
    *--place = '\n';
    do {
        *--place = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    ask(0x04, name);
    ask(0x04, " ");
    ask(0x04, place);
}

void board_stack_mark(void) {
    uint32_t *now;
    __asm__ volatile("mov %0, sp" : "=r"(now));
    marked = now;
    for (volatile uint32_t *place = board_stack_low; place < now; place++) *place = PATTERN;
}

uint32_t board_stack_used(void) {
    uint32_t *place = board_stack_low;
    while (place < marked && *place == PATTERN) place++;
    return (uint32_t)((char *)marked - (char *)place);
}

void board_clock_start(void) {
    REGISTER(SYSTICK + 4) = LONGEST;
    REGISTER(SYSTICK + 8) = 0;
    REGISTER(SYSTICK) = 5;
}

uint32_t board_clock(void) {
    uint32_t control = REGISTER(SYSTICK), left = REGISTER(SYSTICK + 8);
    /* The counter went round at least once: the number is not known. */
    return control & 0x10000u ? 0 : (LONGEST - left) * INSTRUCTIONS;
}

void odelet_reset(void) {
    REGISTER(0xE000ED88u) |= 0xF00000u; /* floating point is on */
    __asm__ volatile("dsb\n isb");
    uint32_t *from = board_data_from;
    for (uint32_t *to = board_data; to < board_data_end; to++) *to = *from++;
    for (uint32_t *to = __bss_start__; to < __bss_end__; to++) *to = 0;
    leave(main(0, (char **)0));
}

void board_fault(void) {
    ask(0x04, "the processor has stopped at a fault\n");
    leave(1);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    board_stack_top, (const void *)odelet_reset, (const void *)board_fault, (const void *)board_fault,
    (const void *)board_fault, (const void *)board_fault, (const void *)board_fault,
};
