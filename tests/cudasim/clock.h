/* What is ordered before what, across streams. Whatever runs on the device (a launch, a block of it, the time between
 * two barriers, a copy, a fill) has a number of its own, its phase; phases only grow. A clock says for each stream up to
 * which phase its work is known to be over. A step that is queued knows what the host knows; a stream knows what its
 * steps knew, and what the events told it that it waited for; the host learns from the calls that wait. Two pieces of
 * work that no clock orders may run in any order, or at once, whatever the simulator happens to do. */
#ifndef CUDASIM_CLOCK_H
#define CUDASIM_CLOCK_H

#include <stdint.h>

enum { CUDASIM_SLOTS = 16 }; /* streams told apart; those beyond share the last slot, and count as one */

typedef struct cudasim_clock {
    uint64_t over[CUDASIM_SLOTS]; /* phases of the slot's stream before this one */
} cudasim_clock;

extern cudasim_clock cudasim_host_clock;
extern uint64_t cudasim_phase; /* the running one, or the last that ran */

static inline void cudasim_clock_join(cudasim_clock *to, const cudasim_clock *from)
{
    for (int i = 0; i < CUDASIM_SLOTS; i++) {
        to->over[i] = to->over[i] > from->over[i] ? to->over[i] : from->over[i];
    }
}

int cudasim_slot_take(void);
void cudasim_slot_give(int slot);
/* The running phase begins work of the slot, ordered after what `clock` knows. */
void cudasim_work_begins(int slot, const cudasim_clock *clock);
/* The work is over: the clock, of its stream, knows it. */
void cudasim_work_ends(int slot, cudasim_clock *clock);
/* All phases before this one are ordered before the work that runs. */
uint64_t cudasim_ordered_phases(void);
/* Whether a phase of earlier work is ordered before the work that runs. */
int cudasim_phase_ordered(uint64_t phase);

#endif
