# SPDX-License-Identifier: Apache-2.0
# cmake -DFILES=a;b -DOUTPUT=template.c -P embed_template.cmake: the files as a C table that ends with an empty row.
set(text "/* Generated from plugins/template. */\n#include <stdbool.h>\n")
set(rows "")
set(n 0)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  set(executable false)
  if(name MATCHES "\\.sh$")
    set(executable true)
  endif()
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND text "static const char text${n}[] = {${bytes}0};\n")
  string(APPEND rows "  {\"${name}\", text${n}, ${executable}},\n")
  math(EXPR n "${n} + 1")
endforeach()
string(APPEND text "typedef struct TemplateFile { const char *name, *text; bool executable; } TemplateFile;\n"
       "extern const TemplateFile plugin_template_files[];\n"
       "const TemplateFile plugin_template_files[] = {\n${rows}  {0, 0, false}\n};\n")
file(WRITE ${OUTPUT} "${text}")
