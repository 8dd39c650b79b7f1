/* SPDX-License-Identifier: Apache-2.0
 * rt_safetensors.c -- written and read back; and hostile files. */
#include "safetensors.h"
#include "rt_toy.h"

typedef struct Two {
  float a[6], b[1];
} Two;
static void two_fill(void *user, uint32_t i, float *out) {
  const Two *t = user;
  memcpy(out, i ? t->b : t->a, i ? sizeof t->b : sizeof t->a);
}

static void test_round_trip(void **state) {
  (void)state;
  Two two = {{1, -2, 3, NAN, INFINITY, -0.0f}, {7}};
  const int64_t dims[] = {2, 3};
  const StOut out[] = {{"model.weight", 2, dims}, {"scalar", 0, NULL}};
  float scratch[6];
  RtError e = {0};
  json_t *meta = json_pack("{s:s}", "step", "12");
  assert_true(st_write("f.safetensors", out, 2, two_fill, &two, scratch, meta, &e));
  json_decref(meta);
  assert_false(file_exists("f.safetensors.tmp"));
  StFile f;
  assert_true(st_open("f.safetensors", &f, &e));
  assert_int_equal(f.n, 2);
  assert_int_equal((f.data - f.memory.bytes) % 64, 0);
  const StTensor *t = st_find(&f, "model.weight");
  assert_int_equal(t->rank, 2);
  assert_int_equal(t->dims[1], 3);
  assert_memory_equal(t->data, two.a, sizeof two.a);
  assert_memory_equal(st_find(&f, "scalar")->data, two.b, 4);
  assert_null(st_find(&f, "other"));
  assert_string_equal(st_meta(&f, "step"), "12");
  assert_null(st_meta(&f, "other"));
  st_close(&f);
  assert_false(st_write("no/folder", out, 2, two_fill, &two, scratch, NULL, &e));
  assert_string_equal(e.message, "cannot write `no/folder`: No such file or directory");
}

static bool parse_text(uint64_t length, const char *header, size_t n_data, RtError *e) {
  size_t n = strlen(header);
  Slab s;
  StFile f;
  *e = (RtError){0};
  assert_true(slab_alloc(&s, (int64_t)(8 + n + n_data), "test", e));
  memcpy(s.bytes, &length, 8);
  memcpy(s.bytes + 8, header, n);
  bool ok = st_parse("f", &s, &f, e);
  if (ok) st_close(&f);
  return ok;
}

static void hostile(const char *header, size_t n_data, const char *why) {
  RtError e;
  if (parse_text(strlen(header), header, n_data, &e)) fail_msg("accepted: %s", header);
  if (!strstr(e.message, why)) fail_msg("%s: `%s` instead of `%s`", header, e.message, why);
}

#define ENTRY(shape, range) "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" range "}}"
static void test_hostile(void **state) {
  (void)state;
  RtError e;
  assert_true(parse_text(strlen(ENTRY("[2]", "[0,8]")), ENTRY("[2]", "[0,8]"), 8, &e));
  assert_true(parse_text(2, "{}", 0, &e));
  assert_true(parse_text(strlen(ENTRY("[0]", "[0,0]")), ENTRY("[0]", "[0,0]"), 0, &e));
  assert_false(parse_text(UINT64_MAX, "{}", 0, &e));
  assert_non_null(strstr(e.message, "its header is too long"));
  assert_false(parse_text(3, "{}", 0, &e));
  assert_non_null(strstr(e.message, "it ends inside the header"));
  hostile("", 0, "its header is not JSON");
  hostile("[]", 0, "not an object");
  hostile("{\"a\":1}", 0, "lacks dtype");
  hostile("{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype");
  hostile(ENTRY("[2]", "[0,9]"), 8, "outside the file");
  hostile(ENTRY("[2]", "[-8,0]"), 8, "outside the file");
  hostile(ENTRY("[2]", "[8,0]"), 8, "outside the file");
  hostile(ENTRY("[3]", "[0,8]"), 8, "do not match its shape");
  hostile(ENTRY("[-2]", "[0,8]"), 8, "not made of counts");
  hostile(ENTRY("[2.0]", "[0,8]"), 8, "not made of counts");
  hostile(ENTRY("[9223372036854775807,4]", "[0,8]"), 8, "overflows");
  hostile(ENTRY("[4611686018427387904]", "[0,0]"), 0, "overflows");
  hostile(ENTRY("[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "more than 8 axes");
  hostile(ENTRY("[2]", "[0,8,9]"), 8, "lacks dtype");
  hostile(ENTRY("[2]", "[0,8]"), 9, "left over");
  hostile(ENTRY("[1]", "[4,8]"), 8, "leave a hole");
  hostile("{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":["
          "4],\"data_offsets\":[4,8]}}",
          8, "overlap");
  hostile("{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"U8\",\"shape\":["
          "8],\"data_offsets\":[0,8]}}",
          8, "not JSON: duplicate");
  hostile("{\"__metadata__\":{\"a\":1}}", 0, "other than strings");
  hostile("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
  char *deep = malloc(200001);
  memset(deep, '[', 200000), deep[200000] = 0;
  hostile(deep, 0, "not JSON");
  free(deep);
}

static void test_short_files(void **state) {
  (void)state;
  for (int n = 0; n < 12; n++) {
    FILE *f = fopen("f", "wb");
    fwrite("\x04\0\0\0\0\0\0\0{}xx", 1, (size_t)n, f);
    fclose(f);
    RtError e = {0};
    StFile st;
    assert_false(st_open("f", &st, &e));
    assert_int_equal(e.code, RT_E0725);
  }
}

#define T(name) cmocka_unit_test_setup_teardown(name, toy_setup, toy_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {T(test_round_trip), T(test_hostile), T(test_short_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
