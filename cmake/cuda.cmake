# The CUDA plugin, libplumb-cuda.so: opened at run time by whoever asks for the device `cuda`, so nothing else depends on
# it. With PLUMB_CUDA=ON a missing nvcc is an error, with AUTO the plugin is left out, with OFF nothing is looked for.
#
# PLUMB_CUDA_ARCHITECTURES, as CMAKE_CUDA_ARCHITECTURES: by default the GPU of this machine, or where there is none every
# major architecture nvcc knows, and PTX of the newest for those to come. CMake knows the words `native` and `all-major`
# from 3.24 and 3.23 on; before, architectures have to be named.

if(PLUMB_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    if(NOT PLUMB_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "PLUMB_CUDA is ${PLUMB_CUDA}, but there is no nvcc: name it in CUDACXX, or set PLUMB_CUDA=OFF.")
    endif()
    message(STATUS "CUDA plugin: not built, there is no nvcc")
  else()
    set(PLUMB_CUDA_ARCHITECTURES "" CACHE STRING "Architectures to compile kernels for; empty: see cmake/cuda.cmake")
    if(PLUMB_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES ${PLUMB_CUDA_ARCHITECTURES})
    elseif(CMAKE_VERSION VERSION_LESS 3.24)
      message(FATAL_ERROR "CMake ${CMAKE_VERSION} cannot choose: give -DPLUMB_CUDA_ARCHITECTURES=90 or alike.")
    elseif(EXISTS /dev/nvidia0)
      set(CMAKE_CUDA_ARCHITECTURES native)
    else()
      set(CMAKE_CUDA_ARCHITECTURES all-major)
    endif()
    enable_language(CXX) # links the plugin
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    message(STATUS "CUDA plugin: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")

    add_library(plumb_kernels OBJECT ${PLUMB_KERNEL_SOURCES})
    target_include_directories(plumb_kernels PRIVATE kernels)
    set_target_properties(plumb_kernels PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
      POSITION_INDEPENDENT_CODE ON CUDA_VISIBILITY_PRESET hidden)
    if(PLUMB_WERROR)
      target_compile_options(plumb_kernels PRIVATE --Werror=all-warnings)
    endif()

    add_library(plumb_cuda_host OBJECT ${PLUMB_CUDA_SOURCES} ${PLUMB_CUDA_LIBRARY_SOURCES})
    target_include_directories(plumb_cuda_host PRIVATE include src)
    target_include_directories(plumb_cuda_host SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    target_compile_options(plumb_cuda_host PRIVATE -ffp-contract=off)
    target_link_libraries(plumb_cuda_host PRIVATE plumb_flags)
    set_target_properties(plumb_cuda_host PROPERTIES C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)

    # The plugin has its own copy of what it uses of the core (see src/device/plugin.h); only its entry is visible.
    add_library(plumb_cuda MODULE $<TARGET_OBJECTS:plumb_cuda_host> $<TARGET_OBJECTS:plumb_kernels>)
    set_target_properties(plumb_cuda PROPERTIES OUTPUT_NAME plumb-cuda LINKER_LANGUAGE CXX
      LINK_DEPENDS ${CMAKE_SOURCE_DIR}/src/plumb.map)
    target_link_libraries(plumb_cuda PRIVATE plumb_static CUDA::cudart_static)
    target_link_options(plumb_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,--version-script=${CMAKE_SOURCE_DIR}/src/plumb.map
      -Wl,--no-undefined)
    install(TARGETS plumb_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

    # The same for embedders, libplumb-cuda.a: whoever links it before libplumb.a has the device without a plugin. The
    # core refers to it weakly, which takes nothing out of an archive, hence the option -u.
    add_library(plumb_cuda_static STATIC EXCLUDE_FROM_ALL $<TARGET_OBJECTS:plumb_cuda_host> $<TARGET_OBJECTS:plumb_kernels>)
    set_target_properties(plumb_cuda_static PROPERTIES OUTPUT_NAME plumb-cuda LINKER_LANGUAGE C)
    target_link_libraries(plumb_cuda_static PUBLIC plumb_static CUDA::cudart_static stdc++)
    target_link_options(plumb_cuda_static INTERFACE -Wl,-u,plumb_plugin_cuda)
    add_executable(example-embedded EXCLUDE_FROM_ALL examples/cuda/embedded.c)
    set_target_properties(example-embedded PROPERTIES LINKER_LANGUAGE C)
    target_link_libraries(example-embedded PRIVATE plumb_flags plumb_cuda_static)
  endif()
endif()
