# ONNX: an optional component on protobuf-c, libplumb-onnx.a beside libplumb.a, which does not grow by it. The code that unpacks
# the format is generated from src/onnx/onnx.proto. Where protobuf-c is missing the configuration says so.

if(PLUMB_BARE)
  return()
endif()
pkg_check_modules(PROTOBUF_C IMPORTED_TARGET libprotobuf-c)
find_program(PLUMB_PROTOC_C NAMES protoc-c)
if(NOT PROTOBUF_C_FOUND OR NOT PLUMB_PROTOC_C)
  message(STATUS "ONNX is left out: libprotobuf-c-dev or protobuf-c-compiler is missing")
  return()
endif()

set(PLUMB_ONNX_GENERATED ${CMAKE_BINARY_DIR}/onnx)
file(MAKE_DIRECTORY ${PLUMB_ONNX_GENERATED})
add_custom_command(OUTPUT ${PLUMB_ONNX_GENERATED}/onnx.pb-c.c ${PLUMB_ONNX_GENERATED}/onnx.pb-c.h
  COMMAND ${PLUMB_PROTOC_C} --c_out=${PLUMB_ONNX_GENERATED} -I ${CMAKE_SOURCE_DIR}/src/onnx ${CMAKE_SOURCE_DIR}/src/onnx/onnx.proto
  DEPENDS ${CMAKE_SOURCE_DIR}/src/onnx/onnx.proto VERBATIM)
set_property(SOURCE ${PLUMB_ONNX_GENERATED}/onnx.pb-c.c APPEND PROPERTY COMPILE_OPTIONS -w) # not our style

add_library(plumb_onnx_objects OBJECT ${PLUMB_ONNX_SOURCES} ${PLUMB_ONNX_GENERATED}/onnx.pb-c.c)
target_include_directories(plumb_onnx_objects PRIVATE include src ${PLUMB_ONNX_GENERATED})
target_link_libraries(plumb_onnx_objects PRIVATE plumb_flags PUBLIC PkgConfig::PROTOBUF_C)
target_compile_options(plumb_onnx_objects PRIVATE -Os -fno-asynchronous-unwind-tables)
set_target_properties(plumb_onnx_objects PROPERTIES C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)

add_library(plumb_onnx_static STATIC $<TARGET_OBJECTS:plumb_onnx_objects>)
set_target_properties(plumb_onnx_static PROPERTIES OUTPUT_NAME plumb-onnx LINKER_LANGUAGE C)
target_link_libraries(plumb_onnx_static PUBLIC plumb_static PkgConfig::PROTOBUF_C)
install(TARGETS plumb_onnx_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

plumb_add_test_program(plumb-onnx-cases tests/onnx_cases.c)
target_link_libraries(plumb-onnx-cases PRIVATE plumb_onnx_static)
target_include_directories(plumb-onnx-cases PRIVATE ${PLUMB_ONNX_GENERATED})
