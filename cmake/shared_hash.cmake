# Run by the build (-DOUTPUT=FILE -DROOT=FOLDER -DFILES=LIST): a header with one hash of all these files, which the core and
# each plugin carry (src/op/shared.c).
set(all "")
foreach(file ${FILES})
  file(SHA256 ${ROOT}/${file} hash)
  string(APPEND all ${hash})
endforeach()
string(SHA256 all "${all}")
string(SUBSTRING ${all} 0 16 all)
file(WRITE ${OUTPUT} "#define PLUMB_SHARED_HASH \"${all}\"\n")
