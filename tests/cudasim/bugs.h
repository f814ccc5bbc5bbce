/* The planted bugs and what each build of the simulator must say of them: a part of the report, or NULL where that build
 * cannot notice. "wrong value" is said by the test's own comparison. The options are what the bug needs to show.
 *
 *  BUG(name, options, plain, asan, checker) */

#define WRONG "wrong value"
#define HEAP "AddressSanitizer: heap-buffer-overflow"
#define POISON "AddressSanitizer: use-after-poison"
#define UBSAN "runtime error: "
#define RACE "cudasim: race"
#define UNWRITTEN "cudasim: uninitialised"
#define OUTSIDE "cudasim: bad-address"

/* barriers and warps */
BUG(missing_barrier, "order=reversed", WRONG, WRONG, UNWRITTEN)
BUG(missing_second_barrier, "order=reversed", WRONG, WRONG, RACE)
BUG(barrier_in_branch, "", "divergent-exit", "divergent-exit", "divergent-exit")
BUG(early_return, "", "divergent-exit", "divergent-exit", "divergent-exit")
BUG(two_barriers, "", "divergent-barrier", "divergent-barrier", "divergent-barrier")
BUG(shuffle_in_branch, "", "exited-lane", "exited-lane", "exited-lane")
BUG(shuffle_against_barrier, "", "deadlock", "deadlock", "deadlock")
BUG(different_collectives, "", "divergent-warp", "divergent-warp", "divergent-warp")
BUG(lane_not_named, "", "lane-not-named", "lane-not-named", "lane-not-named")
BUG(shuffle_width, "", "warp-width", "warp-width", "warp-width")
BUG(warp_synchronous, "order=sequential", WRONG, WRONG, UNWRITTEN)
BUG(block_order, "order=reversed", WRONG, WRONG, UNWRITTEN)
BUG(spin_wait, "watchdog=1", "watchdog", "watchdog", "watchdog")
/* memory */
BUG(global_overrun, "", NULL, HEAP, OUTSIDE)
BUG(global_underrun, "", NULL, HEAP, OUTSIDE)
BUG(shared_overrun, "", NULL, HEAP, UNWRITTEN)
BUG(shared_index, "", NULL, UBSAN "index", OUTSIDE)
BUG(dynamic_overrun, "", NULL, HEAP, OUTSIDE)
BUG(local_overrun, "", NULL, UBSAN "index", NULL)
BUG(uninitialised_shared, "", WRONG, WRONG, UNWRITTEN)
BUG(shared_of_block_before, "", WRONG, WRONG, UNWRITTEN)
BUG(uninitialised_global, "", WRONG, WRONG, UNWRITTEN)
BUG(misaligned_vector, "", NULL, "misaligned address", "cudasim: misaligned")
BUG(wide_shift, "", NULL, UBSAN "shift exponent", NULL)
BUG(stack_overflow, "", "stack-overflow", "stack-overflow", "stack-overflow")
BUG(too_much_shared, "", "shared-size", "shared-size", "shared-size")
/* host code */
BUG(host_pointer, "", "host-pointer", "host-pointer", "host-pointer")
BUG(host_pointer_in_struct, "", NULL, "host-pointer", OUTSIDE)
BUG(freed_pointer, "", "host-pointer", "host-pointer", "host-pointer")
BUG(freed_pointer_in_struct, "", NULL, "host-pointer", OUTSIDE)
BUG(host_reads_device, "", "host-access", POISON, "host-access")
BUG(host_copies_device, "", "host-access", POISON, "host-access")
BUG(double_free, "", "bad-free", "bad-free", "bad-free")
BUG(free_of_inside, "", "bad-free", "bad-free", "bad-free")
BUG(leak, "leaks=1", "leak: device", "leak: device", "leak: device")
BUG(copy_overrun, "", "copy-overrun", "copy-overrun", "copy-overrun")
BUG(copy_direction, "", "copy-direction", "copy-direction", "copy-direction")
BUG(zero_grid, "", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration")
BUG(large_block, "", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration")
/* streams and captures */
BUG(no_wait_for_stream, "streams=lazy", WRONG, WRONG, WRONG)
BUG(no_event_between_streams, "streams=lazy", WRONG, WRONG, UNWRITTEN)
BUG(pinned_used_again, "streams=lazy", WRONG, WRONG, WRONG)
BUG(wait_in_capture, "", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported")
BUG(malloc_in_capture, "", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported")

/* right values, whatever the order: only the checker can tell */
BUG(counter_without_atomic, "", NULL, NULL, RACE)
BUG(counter_read_between_atomics, "", NULL, NULL, RACE)
BUG(missing_fence, "", NULL, NULL, RACE)
BUG(fence_on_one_side, "", NULL, NULL, RACE)
BUG(barrier_of_a_warp_only, "", NULL, NULL, RACE)
BUG(shuffle_as_barrier, "", NULL, NULL, RACE)
BUG(blocks_write_one_place, "", NULL, NULL, RACE)
BUG(half_and_whole, "", NULL, NULL, RACE)
BUG(byte_by_two, "", NULL, NULL, RACE)
BUG(written_after_read, "", NULL, NULL, RACE)
BUG(read_by_many_then_written, "", NULL, NULL, RACE)
BUG(read_by_blocks_then_written, "", NULL, NULL, RACE)
BUG(unwritten_but_ignored, "", NULL, NULL, UNWRITTEN)
BUG(unwritten_half, "", NULL, NULL, UNWRITTEN)
BUG(unwritten_copied, "", NULL, NULL, UNWRITTEN)
BUG(unwritten_fetched, "", NULL, NULL, UNWRITTEN)
BUG(shared_gap, "", NULL, NULL, OUTSIDE)
BUG(local_of_other_thread, "", NULL, NULL, "cudasim: foreign-local")
BUG(variable_of_host, "", NULL, NULL, "cudasim: host-variable")
BUG(no_event_by_luck, "", NULL, NULL, RACE)
BUG(copy_beside_kernel, "", NULL, NULL, RACE)
BUG(fill_beside_kernel, "", NULL, NULL, RACE)
BUG(event_of_work_before, "", NULL, NULL, RACE)
/* slow, not wrong: what the lint says (lint.c) */
BUG(bank_conflict, "lint=/dev/stderr", NULL, NULL, "shared races.cu k_columns 1 32 1")
BUG(strided_access, "lint=/dev/stderr", NULL, NULL, "global races.cu k_strided 1 32 4")

#undef WRONG
#undef HEAP
#undef POISON
#undef UBSAN
#undef RACE
#undef UNWRITTEN
#undef OUTSIDE
#undef BUG
