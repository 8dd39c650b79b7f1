/* SPDX-License-Identifier: Apache-2.0
 * driver_memory.c -- what `routec plan` says of the memory that a run maps. */
#include "driver.h"
#include <inttypes.h>
#include <jansson.h>

static bool comes_and_goes(const RtMemoryPart *p) { return p->when == RT_MEMORY_EARLY || p->when == RT_MEMORY_PASSING; }

void driver_memory_text(const RtMemory *m, FILE *f) {
  fputs("\nmemory of a run, as it is mapped (2 MiB at a time from there on, else 4 KiB); beside it: the code, and what plugins keep\n", f);
  for (uint32_t i = 0; i < m->n; i++)
    fprintf(f, "  %-50s %14" PRId64 " bytes%s\n", m->parts[i].what, m->parts[i].bytes, comes_and_goes(&m->parts[i]) ? ", comes and goes" : "");
  if (!m->with_data) {
    fprintf(f, "  %-50s %14" PRId64 " bytes, and the data: about %" PRId64 " bytes each (--memory reads them, and tells all)\n", "at most",
            m->peak, m->datum_bytes);
    return;
  }
  fprintf(f, "  %-50s %14" PRId64 " bytes, before anything else is there\n", "while the data are read", m->reading);
  fprintf(f, "  %-50s %14" PRId64 " bytes\n", "at most", m->peak);
}

json_t *driver_memory_json(const RtMemory *m) {
  json_t *parts = json_array();
  for (uint32_t i = 0; i < m->n; i++)
    json_array_append_new(parts, json_pack("{s:s, s:I, s:b}", "what", m->parts[i].what, "bytes", (json_int_t)m->parts[i].bytes,
                                           "transient", comes_and_goes(&m->parts[i])));
  return json_pack("{s:o, s:I, s:b, s:I, s:I}", "parts", parts, "datum_bytes", (json_int_t)m->datum_bytes, "with_data", m->with_data,
                   "while_reading", (json_int_t)m->reading, "peak", (json_int_t)m->peak);
}
