# Plugins with which vendors' libraries compute on the CPU: each a library of its own, libplumb-NAME.so, opened at run time
# by whoever asks for its implementations, so nothing else depends on it. They are built where the vendor's headers are
# and left out without a word where they are not.

# Sanitizers do not know these libraries' own threads and memory.
if(PLUMB_SANITIZE)
  return()
endif()

# The plugin has its own copy of what it uses of the core (see src/device/plugin.h); only its entry is visible.
function(plumb_add_vendor name include library)
  add_library(plumb_${name} MODULE ${ARGN})
  target_include_directories(plumb_${name} PRIVATE src)
  target_include_directories(plumb_${name} SYSTEM PRIVATE ${include})
  target_link_libraries(plumb_${name} PRIVATE plumb_flags plumb_static ${library})
  set_target_properties(plumb_${name} PROPERTIES OUTPUT_NAME plumb-${name} C_VISIBILITY_PRESET hidden
    LINK_DEPENDS ${CMAKE_SOURCE_DIR}/src/plumb.map)
  target_link_options(plumb_${name} PRIVATE -Wl,--exclude-libs,ALL -Wl,--version-script=${CMAKE_SOURCE_DIR}/src/plumb.map
    -Wl,--no-undefined)
  foreach(user plumb tests plumb-crosscheck plumb-tests plumb-tests-plain) # a stale one would not know the core's structs
    if(TARGET ${user})
      add_dependencies(${user} plumb_${name})
    endif()
  endforeach()
  install(TARGETS plumb_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

find_path(PLUMB_ONEDNN_INCLUDE oneapi/dnnl/dnnl.h)
find_library(PLUMB_ONEDNN_LIBRARY dnnl)
if(PLUMB_ONEDNN_INCLUDE AND PLUMB_ONEDNN_LIBRARY)
  plumb_add_vendor(onednn ${PLUMB_ONEDNN_INCLUDE} ${PLUMB_ONEDNN_LIBRARY} ${PLUMB_ONEDNN_SOURCES})
endif()

find_path(PLUMB_OPENBLAS_INCLUDE cblas-openblas.h)
find_library(PLUMB_OPENBLAS_LIBRARY openblas)
if(PLUMB_OPENBLAS_INCLUDE AND PLUMB_OPENBLAS_LIBRARY)
  plumb_add_vendor(openblas ${PLUMB_OPENBLAS_INCLUDE} ${PLUMB_OPENBLAS_LIBRARY} ${PLUMB_OPENBLAS_SOURCES})
endif()
