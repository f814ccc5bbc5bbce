# The simulator of tests/cudasim, which runs the CUDA device without a GPU: see docs/CUDASIM.md. It needs the headers of
# a CUDA toolkit and a C++ compiler, no nvcc and no library of CUDA; where those are missing nothing is defined here, and
# the suite says so. Each program is built three times: plain; asan, with AddressSanitizer and UndefinedBehaviorSanitizer;
# and checker, whose kernels, and nothing else, are compiled with -fsanitize=thread and linked with functions of the
# simulator in place of that sanitizer's library. The simulator itself is never instrumented: it would report what it
# does on purpose.

include(CheckLanguage)
check_language(CXX)
find_path(PLUMB_CUDA_INCLUDE cuda_runtime_api.h
  PATHS $ENV{PLUMB_CUDA_INCLUDE} /usr/local/cuda/include /usr/include
    ${CMAKE_SOURCE_DIR}/.cuda-headers/include NO_DEFAULT_PATH
  DOC "Folder of cuda_runtime_api.h, for the CUDA simulator")
if(NOT PLUMB_CUDA_INCLUDE OR NOT CMAKE_CXX_COMPILER)
  return()
endif()
enable_language(CXX)
add_custom_target(cudasim-tests)

set(PLUMB_CUDASIM_SOURCES
  tests/cudasim/clock.c
  tests/cudasim/fiber.c
  tests/cudasim/memory.c
  tests/cudasim/queue.c
  tests/cudasim/report.c
  tests/cudasim/runtime.c
  tests/cudasim/shared.c
  tests/cudasim/streams.c
  tests/cudasim/copies.c
  tests/cudasim/graphs.c
)
# In place of src/cuda/library.c: the vendors' libraries, which are fakes.
set(PLUMB_CUDASIM_FAKE_SOURCES
  tests/cudasim/library.c
  tests/cudasim/cublaslt.c
  tests/cudasim/abi.cpp
  tests/cudasim/cudnn.c
  tests/cudasim/cudnn_check.c
  tests/cudasim/cudnn_run.c
  tests/cudasim/cudnn_abi.c
)
set_source_files_properties(tests/cudasim/abi.cpp PROPERTIES COMPILE_OPTIONS -std=c++17)
set(PLUMB_CUDASIM_TEST_SOURCES
  tests/cudasim/test_bugs.c
  tests/cudasim/test_kernels.c
  tests/cudasim/test_main.c
  tests/cudasim/test_runtime.c
)
set(PLUMB_CUDASIM_TEST_KERNELS
  tests/cudasim/bugs.cu
  tests/cudasim/races.cu
  tests/cudasim/samples.cu
)

# Only gcc can be told to instrument accesses and not the entries of functions.
set(PLUMB_CUDASIM_BUILDS plain asan)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND PLUMB_CUDASIM_BUILDS checker)
endif()
set(cudasim_define_plain "")
set(cudasim_define_asan CUDASIM_ASAN)
set(cudasim_define_checker CUDASIM_CHECKER)
set(cudasim_sources_checker tests/cudasim/checker.c tests/cudasim/verdict.c tests/cudasim/lint.c)
set(cudasim_host_plain -O2)
set(cudasim_host_asan -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
set(cudasim_host_checker -O2)
set(cudasim_kernel_plain -O1)
option(PLUMB_KERNEL_COVERAGE "The simulator's plain build counts, for gcov, how often each line of kernels runs" OFF)
if(PLUMB_KERNEL_COVERAGE) # unoptimised, so that lines stay what they are
  set(cudasim_kernel_plain -O0 --coverage)
endif()
set(cudasim_kernel_asan ${cudasim_host_asan} -g1) # lines for traces; more takes the compiler a third longer
# Vectors are not taken apart, so that an access is as wide as it is on a GPU.
set(cudasim_kernel_checker -O1 -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -fno-tree-sra -fno-ipa-sra)
set(cudasim_link_plain $<$<BOOL:${PLUMB_KERNEL_COVERAGE}>:--coverage>)
set(cudasim_link_asan -fsanitize=address,undefined)
set(cudasim_link_checker "")
set(cudasim_fakes_plain "")
set(cudasim_fakes_asan "")
set(cudasim_fakes_checker -fsanitize=thread --param=tsan-instrument-func-entry-exit=0)

function(plumb_cudasim_includes target)
  target_include_directories(${target} PRIVATE kernels tests/cudasim include src tests)
  target_include_directories(${target} SYSTEM PRIVATE ${PLUMB_CUDA_INCLUDE})
endfunction()

# Kernels, compiled as C++.
function(plumb_cudasim_kernels target build)
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
  plumb_cudasim_includes(${target})
  target_compile_options(${target} PRIVATE -std=c++17 -x c++ -g -Wall -Wextra -Wno-unknown-pragmas
    $<$<BOOL:${PLUMB_WERROR}>:-Werror> ${cudasim_kernel_${build}})
endfunction()

# Host code that calls the runtime.
function(plumb_cudasim_host target build)
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${ARGN})
  plumb_cudasim_includes(${target})
  target_compile_definitions(${target} PRIVATE ${cudasim_define_${build}} PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_compile_options(${target} PRIVATE -g ${cudasim_host_${build}})
  target_link_libraries(${target} PRIVATE plumb_flags)
endfunction()

# The simulator itself, and the fakes.
function(plumb_cudasim_inside target build)
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${ARGN})
  plumb_cudasim_includes(${target})
  target_compile_definitions(${target} PRIVATE ${cudasim_define_${build}})
  target_compile_options(${target} PRIVATE -O2 -g)
  target_link_libraries(${target} PRIVATE plumb_flags)
endfunction()

function(plumb_cudasim_program name build)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN} $<TARGET_OBJECTS:cudasim-${build}>)
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX ENABLE_EXPORTS ON)
  target_link_options(${name} PRIVATE ${cudasim_link_${build}})
  target_link_libraries(${name} PRIVATE Threads::Threads m)
  add_dependencies(cudasim-tests ${name})
endfunction()

foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_inside(cudasim-${build} ${build} ${PLUMB_CUDASIM_SOURCES} ${cudasim_sources_${build}})
  plumb_cudasim_inside(cudasim-fakes-${build} ${build} ${PLUMB_CUDASIM_FAKE_SOURCES})
  target_compile_options(cudasim-fakes-${build} PRIVATE ${cudasim_fakes_${build}})

  plumb_cudasim_kernels(cudasim-test-kernels-${build} ${build} ${PLUMB_CUDASIM_TEST_KERNELS})
  plumb_cudasim_host(cudasim-test-host-${build} ${build} ${PLUMB_CUDASIM_TEST_SOURCES})
  plumb_cudasim_program(cudasim-tests-${build} ${build} $<TARGET_OBJECTS:cudasim-test-kernels-${build}>
    $<TARGET_OBJECTS:cudasim-test-host-${build}>)
endforeach()

# The whole library with the CUDA device in it, on the simulator: the cross-check of every op against the reference, and
# random descriptors.
foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_kernels(cudasim-kernels-${build} ${build} ${PLUMB_KERNEL_SOURCES})
  plumb_cudasim_host(cudasim-host-${build} ${build} ${PLUMB_CUDA_SOURCES})
  plumb_cudasim_program(cudasim-crosscheck-${build} ${build} ${PLUMB_CROSSCHECK_SOURCES})
  plumb_cudasim_program(cudasim-opfuzz-${build} ${build} ${PLUMB_OPFUZZ_SOURCES})
  foreach(name cudasim-crosscheck-${build} cudasim-opfuzz-${build})
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}>
      $<TARGET_OBJECTS:cudasim-fakes-${build}> $<TARGET_OBJECTS:plumb_cases>)
    target_include_directories(${name} PRIVATE src tests)
    target_compile_definitions(${name} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
    target_link_libraries(${name} PRIVATE plumb_flags plumb_static)
  endforeach()
endforeach()

# Element-wise ops on all patterns of the narrow types.
plumb_cudasim_program(cudasim-exhaustive-plain plain ${PLUMB_EXHAUSTIVE_SOURCES}
  $<TARGET_OBJECTS:cudasim-kernels-plain> $<TARGET_OBJECTS:cudasim-host-plain> $<TARGET_OBJECTS:cudasim-fakes-plain> $<TARGET_OBJECTS:plumb_cases>)
target_include_directories(cudasim-exhaustive-plain PRIVATE src tests)
target_compile_definitions(cudasim-exhaustive-plain PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
target_link_libraries(cudasim-exhaustive-plain PRIVATE plumb_flags plumb_static)

# The device's own tests: memory, copies, captured programs, and every call of the runtime failing in turn.
foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_program(cudasim-device-${build} ${build} tests/runner.c tests/nets.c tests/cudasim/test_device.c
    tests/cudasim/test_precision.c tests/cudasim/test_launchers.c
    $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}> $<TARGET_OBJECTS:cudasim-fakes-${build}>)
  plumb_cudasim_includes(cudasim-device-${build})
  target_compile_definitions(cudasim-device-${build} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-device-${build} PRIVATE plumb_flags plumb_static)
endforeach()

# Networks trained on it, held against the CPU.
foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_program(cudasim-networks-${build} ${build} tests/runner.c tests/courses.c tests/cudasim/test_networks.c
    $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}> $<TARGET_OBJECTS:cudasim-fakes-${build}>)
  plumb_cudasim_includes(cudasim-networks-${build})
  target_compile_definitions(cudasim-networks-${build} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-networks-${build} PRIVATE plumb_flags plumb_static)
endforeach()

# The vendors' libraries, as fakes: what host code does with them, without them, and when they fail.
foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_program(cudasim-vendor-${build} ${build} tests/runner.c tests/cudasim/test_vendor.c
    $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}>
    $<TARGET_OBJECTS:cudasim-fakes-${build}>)
  plumb_cudasim_includes(cudasim-vendor-${build})
  target_compile_definitions(cudasim-vendor-${build} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-vendor-${build} PRIVATE plumb_flags plumb_static)
endforeach()

# The command with the CUDA device linked in, and the example for embedders, both from an archive as plumb_cuda_static is.
add_library(cudasim-cuda-static STATIC EXCLUDE_FROM_ALL $<TARGET_OBJECTS:cudasim-kernels-plain>
  $<TARGET_OBJECTS:cudasim-host-plain> $<TARGET_OBJECTS:cudasim-plain> $<TARGET_OBJECTS:cudasim-fakes-plain>)
set_target_properties(cudasim-cuda-static PROPERTIES LINKER_LANGUAGE CXX)
target_link_libraries(cudasim-cuda-static PUBLIC plumb_static)
target_link_options(cudasim-cuda-static INTERFACE -Wl,-u,plumb_plugin_cuda)
add_executable(cudasim-plumb EXCLUDE_FROM_ALL ${PLUMB_CLI_SOURCES})
add_executable(cudasim-embedded EXCLUDE_FROM_ALL examples/cuda/embedded.c)
add_executable(cudasim-validate EXCLUDE_FROM_ALL ${PLUMB_VALIDATE_SOURCES})
foreach(name cudasim-plumb cudasim-embedded cudasim-validate)
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX ENABLE_EXPORTS ON)
  target_include_directories(${name} PRIVATE src)
  target_link_libraries(${name} PRIVATE plumb_flags cudasim-cuda-static Threads::Threads m)
  add_dependencies(cudasim-tests ${name})
endforeach()

# What the checker's lint looks at.
if("checker" IN_LIST PLUMB_CUDASIM_BUILDS)
  plumb_cudasim_program(cudasim-lint checker tests/runner.c tests/cudasim/test_lint.c
    $<TARGET_OBJECTS:cudasim-kernels-checker> $<TARGET_OBJECTS:cudasim-host-checker> $<TARGET_OBJECTS:cudasim-fakes-checker>)
  plumb_cudasim_includes(cudasim-lint)
  target_compile_definitions(cudasim-lint PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-lint PRIVATE plumb_flags plumb_static)
endif()

# The cuDNN provider, on its fake.
foreach(build ${PLUMB_CUDASIM_BUILDS})
  plumb_cudasim_program(cudasim-cudnn-${build} ${build} tests/runner.c tests/nets.c tests/cudasim/test_cudnn.c
    $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}>
    $<TARGET_OBJECTS:cudasim-fakes-${build}>)
  plumb_cudasim_includes(cudasim-cudnn-${build})
  target_compile_definitions(cudasim-cudnn-${build} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-cudnn-${build} PRIVATE plumb_flags plumb_static)
endforeach()

# The real cuDNN, where it is installed, judges the provider's graphs: it plans for a device that is described to it.
plumb_cudasim_program(cudasim-cudnn-real plain tests/cudasim/cudnn_real.c
  $<TARGET_OBJECTS:cudasim-kernels-plain> $<TARGET_OBJECTS:cudasim-host-plain> $<TARGET_OBJECTS:cudasim-fakes-plain>)
plumb_cudasim_includes(cudasim-cudnn-real)
target_link_libraries(cudasim-cudnn-real PRIVATE plumb_flags plumb_static ${CMAKE_DL_LIBS})

# Every call of the runtime and of the vendors' libraries failing once.
foreach(build plain asan)
  plumb_cudasim_program(cudasim-failures-${build} ${build} tests/runner.c tests/nets.c tests/cudasim/test_failures.c
    $<TARGET_OBJECTS:cudasim-kernels-${build}> $<TARGET_OBJECTS:cudasim-host-${build}> $<TARGET_OBJECTS:cudasim-fakes-${build}>)
  plumb_cudasim_includes(cudasim-failures-${build})
  target_compile_definitions(cudasim-failures-${build} PRIVATE PLUMB_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(cudasim-failures-${build} PRIVATE plumb_flags plumb_static)
endforeach()
