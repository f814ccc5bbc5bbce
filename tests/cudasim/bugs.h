/* The planted bugs and what each build of the simulator must say of them: a part of the report, or NULL where that build
 * cannot notice. "wrong value" is said by the test's own comparison. The options are what the bug needs to show.
 *
 *  BUG(name, options, plain, asan) */

#define WRONG "wrong value"
#define HEAP "AddressSanitizer: heap-buffer-overflow"
#define POISON "AddressSanitizer: use-after-poison"
#define UBSAN "runtime error: "

/* barriers and warps */
BUG(missing_barrier, "order=reversed", WRONG, WRONG)
BUG(missing_second_barrier, "order=reversed", WRONG, WRONG)
BUG(barrier_in_branch, "", "divergent-exit", "divergent-exit")
BUG(early_return, "", "divergent-exit", "divergent-exit")
BUG(two_barriers, "", "divergent-barrier", "divergent-barrier")
BUG(shuffle_in_branch, "", "exited-lane", "exited-lane")
BUG(shuffle_against_barrier, "", "deadlock", "deadlock")
BUG(different_collectives, "", "divergent-warp", "divergent-warp")
BUG(lane_not_named, "", "lane-not-named", "lane-not-named")
BUG(shuffle_width, "", "warp-width", "warp-width")
BUG(warp_synchronous, "order=sequential", WRONG, WRONG)
BUG(block_order, "order=reversed", WRONG, WRONG)
BUG(spin_wait, "watchdog=1", "watchdog", "watchdog")
/* memory */
BUG(global_overrun, "", NULL, HEAP)
BUG(global_underrun, "", NULL, HEAP)
BUG(shared_overrun, "", NULL, HEAP)
BUG(shared_index, "", NULL, UBSAN "index")
BUG(dynamic_overrun, "", NULL, HEAP)
BUG(local_overrun, "", NULL, UBSAN "index")
BUG(uninitialised_shared, "", WRONG, WRONG)
BUG(shared_of_block_before, "", WRONG, WRONG)
BUG(uninitialised_global, "", WRONG, WRONG)
BUG(misaligned_vector, "", NULL, "misaligned address")
BUG(wide_shift, "", NULL, UBSAN "shift exponent")
BUG(stack_overflow, "", "stack-overflow", "stack-overflow")
BUG(too_much_shared, "", "shared-size", "shared-size")
/* host code */
BUG(host_pointer, "", "host-pointer", "host-pointer")
BUG(host_pointer_in_struct, "", NULL, "host-pointer")
BUG(freed_pointer, "", "host-pointer", "host-pointer")
BUG(freed_pointer_in_struct, "", NULL, "host-pointer")
BUG(host_reads_device, "", "host-access", POISON)
BUG(host_copies_device, "", "host-access", POISON)
BUG(double_free, "", "bad-free", "bad-free")
BUG(free_of_inside, "", "bad-free", "bad-free")
BUG(leak, "leaks=1", "leak: device", "leak: device")
BUG(copy_overrun, "", "copy-overrun", "copy-overrun")
BUG(copy_direction, "", "copy-direction", "copy-direction")
BUG(zero_grid, "", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration")
BUG(large_block, "", "cudaErrorInvalidConfiguration", "cudaErrorInvalidConfiguration")
/* streams and captures */
BUG(no_wait_for_stream, "streams=lazy", WRONG, WRONG)
BUG(no_event_between_streams, "streams=lazy", WRONG, WRONG)
BUG(pinned_used_again, "streams=lazy", WRONG, WRONG)
BUG(wait_in_capture, "", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported")
BUG(malloc_in_capture, "", "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureUnsupported")

#undef WRONG
#undef HEAP
#undef POISON
#undef UBSAN
#undef BUG
