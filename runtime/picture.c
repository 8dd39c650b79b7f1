/* SPDX-License-Identifier: Apache-2.0
 * picture.c -- an 8-bit grey PNG through libpng. */
#include "run.h"
#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

typedef struct PngOut {
  jmp_buf escape;
  char why[128];
} PngOut;

static void png_failed(png_structp png, png_const_charp why) {
  PngOut *p = png_get_error_ptr(png);
  snprintf(p->why, sizeof p->why, "%s", why);
  longjmp(p->escape, 1);
}
static void png_warned(png_structp png, png_const_charp why) { (void)png, (void)why; }

/* All that changes after setjmp lives behind pointers. */
static bool png_write(FILE *f, const Picture *p, PngOut *out) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, out, png_failed, png_warned);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    snprintf(out->why, sizeof out->why, "out of memory");
    png_destroy_write_struct(&png, NULL);
    return false;
  }
  if (setjmp(out->escape)) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_init_io(png, f);
  png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, 8, PNG_COLOR_TYPE_GRAY,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int64_t y = 0; y < p->height; y++) png_write_row(png, p->pixels + y * p->width);
  png_write_end(png, NULL);
  png_destroy_write_struct(&png, &info);
  return true;
}

bool picture_write(const char *path, const Picture *p, RtError *e) {
  PngOut out = {.why = ""};
  FILE *f = fopen(path, "wb");
  if (!f) return rt_fail(e, RT_E0720, path, strerror(errno));
  bool ok = png_write(f, p, &out);
  if (fclose(f) != 0 && ok) ok = false, snprintf(out.why, sizeof out.why, "%s", strerror(errno));
  if (!ok) remove(path);
  return ok || rt_fail(e, RT_E0720, path, out.why);
}
