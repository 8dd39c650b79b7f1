/* SPDX-License-Identifier: Apache-2.0
 * rt_readers.c -- IDX, NPY, NPZ, CSV, parts, holdout, ranges, paths: what is read, and what is refused. */
#include "array.h"
#include "data.h"
#include "data_read.h"
#include "rt_toy.h"
#include <zlib.h>
#include <sys/wait.h>

static void write_bytes(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}
static void write_gz(const char *path, const void *bytes, size_t n) {
  gzFile f = gzopen(path, "wb");
  assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
  gzclose(f);
}

/* ---- one source with one column
 * -------------------------------------------------------------------------------------- */
typedef struct Case {
  JobSourceArg args[6];
  JobSource source;
  JobColumn column;
  JobEval eval;
  Job job;
  Data data;
  RtError e;
} Case;

static void case_make(Case *c, const char *reader, const char *key, const char *file, JobDtype dtype,
                      int32_t rank, int64_t d0, int64_t d1) {
  *c = (Case){
      .args = {{key, file, 0, 0}},
      .source = {"s", reader, NULL, 1, {"a.route", 2, 3}},
      .column = {.name = "x", .dtype = dtype, .rank = rank, .dims = {d0, d1}, .span = {"a.route", 3, 4}}};
  c->source.args = c->args;
  c->job =
      (Job){.abi = JOB_ABI, .sources = &c->source, .n_sources = 1, .columns = &c->column, .n_columns = 1};
  c->job.train.present = true;
}
static const DataPart *case_open(Case *c, const char *part) {
  c->e = (RtError){0};
  c->job.sources = &c->source, c->job.columns = &c->column, c->source.args = c->args;
  if (!data_open(&c->data, &c->job, NULL, "a.route", &c->e)) return NULL;
  return data_part(&c->data, 0, part);
}
static void case_fails(Case *c, RtCode code, const char *message) {
  assert_null(case_open(c, "train"));
  if (c->e.code != code || !strstr(c->e.message, message))
    fail_msg("expected %s `%s`, got %s `%s`", rt_code_name(code), message, rt_code_name(c->e.code),
             c->e.message);
}

/* ---- IDX
 * ---------------------------------------------------------------------------------------------------------------
 */
static const uint8_t idx_bytes[] = {0, 0, 8, 3, 0, 0, 0, 2, 0,   0,   0,   2,   0,   0,
                                    0, 3, 0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255};

static void test_idx(void **state) {
  (void)state;
  Case c;
  write_bytes("plain", idx_bytes, sizeof idx_bytes);
  write_gz("packed", idx_bytes, sizeof idx_bytes);
  for (int i = 0; i < 2; i++) {
    case_make(&c, "idx", "x", i ? "packed" : "plain", JOB_U8, 2, 2, 3);
    const DataPart *p = case_open(&c, "train");
    assert_non_null(p);
    assert_int_equal(p->rows, 2);
    assert_memory_equal(p->columns[0], idx_bytes + 16, 12);
    data_close(&c.data);
  }
  case_make(&c, "idx", "x", "plain", JOB_F32, 1, 6, 0);
  const DataPart *p = case_open(&c, "train");
  assert_true(((const float *)p->columns[0])[7] == 251);
  data_close(&c.data);
  const uint8_t wide[] = {0, 0, 0x0E, 1, 0,    0, 0, 2, 0x3f, 0xf8, 0, 0,
                          0, 0, 0,    0, 0xc0, 0, 0, 0, 0,    0,    0, 0}; /* f64 1.5, -2 */
  write_bytes("wide", wide, sizeof wide);
  case_make(&c, "idx", "x", "wide", JOB_F32, 0, 0, 0);
  p = case_open(&c, "train");
  assert_true(((const float *)p->columns[0])[0] == 1.5f && ((const float *)p->columns[0])[1] == -2);
  data_close(&c.data);
}

static void test_idx_refused(void **state) {
  (void)state;
  Case c;
  uint8_t b[64];
  case_make(&c, "idx", "x", "f", JOB_U8, 2, 2, 3);
  case_fails(&c, RT_E0701, "cannot read `f`: No such file");
  assert_int_equal(mkdir("f", 0777), 0);
  case_fails(&c, RT_E0701, "it is a folder");
  assert_int_equal(rmdir("f"), 0);
  write_bytes("f", b, 0);
  case_fails(&c, RT_E0702, "`f` is no IDX file: it is empty");
  for (size_t n = 1; n < sizeof idx_bytes; n++) {
    write_bytes("f", idx_bytes, n);
    case_fails(&c, RT_E0703, "`f` is damaged");
  }
  memcpy(b, idx_bytes, sizeof idx_bytes), b[sizeof idx_bytes] = 0;
  write_bytes("f", b, sizeof idx_bytes + 1);
  case_fails(&c, RT_E0703, "the header promises 12 bytes of values, the file has 13");
  b[2] = 7;
  write_bytes("f", b, sizeof idx_bytes);
  case_fails(&c, RT_E0702, "wrong magic number");
  b[2] = 8, b[3] = 200;
  write_bytes("f", b, sizeof idx_bytes);
  case_fails(&c, RT_E0704, "more axes than 8");
  memset(b, 255, sizeof b), b[0] = b[1] = 0, b[2] = 0x0E, b[3] = 8;
  write_bytes("f", b, sizeof b);
  case_fails(&c, RT_E0702, "more than 2^63 bytes");
  memcpy(b, idx_bytes, sizeof idx_bytes), b[4] = 0x7f;
  write_bytes("f", b, sizeof idx_bytes);
  case_fails(&c, RT_E0703, "bytes of values, the file has 12");
  c.column.dims[0] = 3;
  write_bytes("f", idx_bytes, sizeof idx_bytes);
  case_fails(&c, RT_E0713, "column `x` holds [2, 3] a datum, but [3, 3] was declared");
  c.column.dims[0] = 3, c.column.dims[1] = 2;
  case_fails(&c, RT_E0713, "[3, 2] was declared");
}

static void test_gzip_refused(void **state) {
  (void)state;
  Case c;
  case_make(&c, "idx", "x", "f.gz", JOB_U8, 2, 2, 3);
  write_gz("f.gz", idx_bytes, sizeof idx_bytes);
  size_t n = 0;
  char *gz = toy_read("f.gz", &n);
  for (size_t cut = 11; cut < n; cut++) {
    write_bytes("f.gz", gz, cut);
    assert_null(case_open(&c, "train"));
    if (c.e.code != RT_E0703) fail_msg("cut at %zu: %s", cut, c.e.message);
  }
  gz[n / 2] ^= 0x55;
  write_bytes("f.gz", gz, n);
  case_fails(&c, RT_E0703, "`f.gz` is damaged");
  gz[n / 2] ^= 0x55, memset(gz + n - 4, 255, 4); /* a length that is a lie */
  write_bytes("f.gz", gz, n);
  case_fails(&c, RT_E0703, "`f.gz` is damaged");
  free(gz);
}

/* Members one behind the other are one file, whatever the last one says of the size; what follows the last is not read. A pipe can
 * be read once only. */
static void test_gzip_members(void **state) {
  (void)state;
  enum { MANY = 300000 };
  Case c;
  size_t n[2] = {0};
  uint8_t *big = calloc(1, 8 + MANY), *file = malloc(4 * MANY);
  assert_true(big && file);
  const uint8_t head[8] = {0, 0, 8, 1, MANY >> 24, MANY >> 16 & 255, MANY >> 8 & 255, MANY & 255};
  memcpy(big, head, 8);
  for (int i = 0; i < MANY; i += 977) big[8 + i] = (uint8_t)(i % 251);
  for (size_t first = 4; first <= 8 + MANY; first += (8 + MANY - 4) / 2) {
    write_gz("one", big, first), write_gz("two", big + first, 8 + MANY - first);
    char *one = toy_read("one", &n[0]), *two = toy_read("two", &n[1]);
    memcpy(file, one, n[0]), memcpy(file + n[0], two, n[1]), memcpy(file + n[0] + n[1], "beyond", 6);
    free(one), free(two);
    for (size_t beyond = 0; beyond <= 6; beyond += 6) {
      write_bytes("members", file, n[0] + n[1] + beyond);
      case_make(&c, "idx", "x", "members", JOB_U8, 0, 0, 0);
      const DataPart *p = case_open(&c, "train");
      assert_true(p && p->rows == MANY);
      assert_memory_equal(p->columns[0], big + 8, MANY);
      data_close(&c.data);
    }
    file[n[0] + n[1] - 6] ^= 1; /* the last member's checksum */
    write_bytes("members", file, n[0] + n[1]);
    case_fails(&c, RT_E0703, "`members` is damaged");
  }
  assert_int_equal(mkfifo("pipe", 0600), 0);
  const pid_t child = fork();
  if (child == 0) write_gz("pipe", big, 8 + MANY), _exit(0);
  case_make(&c, "idx", "x", "pipe", JOB_U8, 0, 0, 0);
  assert_non_null(case_open(&c, "train"));
  data_close(&c.data);
  assert_int_equal(waitpid(child, NULL, 0), child);
  free(big), free(file);
}

/* ---- NPY, NPZ
 * ------------------------------------------------------------------------------------------------------------
 */
static size_t npy_make(uint8_t *out, const char *header, const void *values, size_t n) {
  size_t h = strlen(header);
  memcpy(out, "\x93NUMPY\x01\x00", 8);
  out[8] = (uint8_t)h, out[9] = (uint8_t)(h >> 8);
  memcpy(out + 10, header, h);
  memcpy(out + 10 + h, values, n);
  return 10 + h + n;
}

static void npy_case(const char *header, size_t bytes, JobDtype dtype, RtCode code, const char *message) {
  uint8_t file[512], values[256] = {0};
  Case c;
  values[0] = 3, values[3] = 0x40; /* u1: 3; i4: 0x40000003; f4: 2.0000007 */
  write_bytes("f.npy", file, npy_make(file, header, values, bytes));
  case_make(&c, "npy", "x", "f.npy", dtype, 1, 3, 0);
  if (code) {
    case_fails(&c, code, message);
    return;
  }
  const DataPart *p = case_open(&c, "train");
  if (!p) fail_msg("%s", header);
  assert_int_equal(p->rows, 2);
  data_close(&c.data);
}

static void test_npy(void **state) {
  (void)state;
  npy_case("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", 6, JOB_U8, 0, "");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, JOB_F32, 0, "");
  npy_case("{\"shape\": (2,3), \"descr\": \"<i8\", \"fortran_order\": False}   \n", 48, JOB_I32, 0, "");
  npy_case("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, JOB_F32, RT_E0704,
           "big-endian");
  npy_case("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, JOB_F32, RT_E0704,
           "Fortran order");
  npy_case("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3), }", 48, JOB_F32, RT_E0704,
           "values of type <c8");
  npy_case("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8, JOB_F32, RT_E0704,
           "structured");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, JOB_F32, RT_E0704, "scalar");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23, JOB_F32, RT_E0703,
           "promises 24");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 25, JOB_F32, RT_E0703,
           "promises 24");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 3), }", 24, JOB_F32,
           RT_E0702, "more than 2^63");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }", 24, JOB_F32,
           RT_E0702, "cannot be read");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }", 24, JOB_F32, RT_E0702,
           "cannot be read");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2,3), }", 24, JOB_F32,
           RT_E0702, "cannot be read");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 0, JOB_F32, RT_E0718, "has 0 rows");
  npy_case("{'descr': '<f4'", 24, JOB_F32, RT_E0702, "cannot be read");
  npy_case("", 24, JOB_F32, RT_E0702, "cannot be read");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}", 24, JOB_F32, RT_E0702,
           "cannot be read");
  npy_case("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", 24, JOB_U8, RT_E0716,
           "value 1073741827 at row 0 cannot be held as u8");
  npy_case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, JOB_I32, RT_E0716,
           "cannot be held as i32");
  Case c;
  write_bytes("f.npy", "\x93NUMPY\x01\x00\xff\xff{}", 12);
  case_make(&c, "npy", "x", "f.npy", JOB_F32, 1, 3, 0);
  case_fails(&c, RT_E0703, "ends inside the header");
  write_bytes("f.npy", "PK", 2);
  case_fails(&c, RT_E0702, "wrong magic number");
}

/* A zip archive of one entry. */
static size_t zip_make(uint8_t *out, const char *name, int method, const uint8_t *content, size_t n) {
  uint8_t packed[1024];
  size_t m = n, at = 0, len = strlen(name);
  if (method == 8) {
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)(uintptr_t)content, z.avail_in = (uInt)n, z.next_out = packed,
    z.avail_out = sizeof packed;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    m = z.total_out;
    deflateEnd(&z);
  } else {
    memcpy(packed, content, n);
  }
  uint32_t crc = (uint32_t)crc32(0, content, (uInt)n);
#define W2(v) out[at++] = (uint8_t)(v), out[at++] = (uint8_t)((v) >> 8)
#define W4(v) W2((uint32_t)(v) & 0xffff), W2((uint32_t)(v) >> 16)
  W4(0x04034b50), W2(20), W2(0), W2(method), W4(0), W4(crc), W4(m), W4(n), W2(len), W2(0);
  memcpy(out + at, name, len), at += len;
  memcpy(out + at, packed, m), at += m;
  size_t directory = at;
  W4(0x02014b50), W2(20), W2(20), W2(0), W2(method), W4(0), W4(crc), W4(m), W4(n), W2(len), W2(0), W2(0),
      W2(0), W2(0), W4(0), W4(0);
  memcpy(out + at, name, len), at += len;
  size_t size = at - directory;
  W4(0x06054b50), W2(0), W2(0), W2(1), W2(1), W4(size), W4(directory), W2(0);
  return at;
}

static void test_npz(void **state) {
  (void)state;
  uint8_t npy[256], zip[2048];
  const float values[6] = {1, 2, 3, 4, 5, 6};
  size_t n =
      npy_make(npy, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", values, sizeof values);
  Case c;
  for (int method = 0; method <= 8; method += 8) {
    size_t m = zip_make(zip, "x.npy", method, npy, n);
    write_bytes("f.npz", zip, m);
    case_make(&c, "npz", "path", "f.npz", JOB_F32, 1, 3, 0);
    const DataPart *p = case_open(&c, "train");
    assert_non_null(p);
    assert_memory_equal(p->columns[0], values, sizeof values);
    data_close(&c.data);
    for (size_t cut = 0; cut < m; cut++) { /* never a crash, always an error */
      write_bytes("f.npz", zip, cut);
      assert_null(case_open(&c, "train"));
    }
    for (size_t at = 0; at < m; at++) { /* one bit turned: an error or the same values */
      zip[at] ^= 16;
      write_bytes("f.npz", zip, m);
      p = case_open(&c, "train");
      if (p && memcmp(p->columns[0], values, sizeof values) != 0)
        fail_msg("a flip at byte %zu was not seen", at);
      if (p) data_close(&c.data);
      zip[at] ^= 16;
    }
  }
  size_t m = zip_make(zip, "y.npy", 0, npy, n);
  write_bytes("f.npz", zip, m);
  case_fails(&c, RT_E0712, "has no column `x`: the archive has no array of this name");
  m = zip_make(zip, "x.npy", 0, npy, n);
  memset(zip + m - 12, 255, 8);
  write_bytes("f.npz", zip, m);
  case_fails(&c, RT_E0704, "zip64");
  write_bytes("f.npz", "hello", 5);
  case_fails(&c, RT_E0702, "wrong magic number");
}

/* ---- CSV
 * ------------------------------------------------------------------------------------------------------------------
 */
static void csv_case(Case *c, const char *text, double first, double past) {
  write_bytes("f.csv", text, strlen(text));
  case_make(c, "csv", "path", "f.csv", JOB_F32, 1, (int64_t)(past - first), 0);
  c->args[1] = (JobSourceArg){"x", NULL, first, past};
  c->source.n_args = 2;
}

static void test_csv(void **state) {
  (void)state;
  Case c;
  csv_case(&c, "a,b,c\n1,2.5,-3e2\r\n\n \"4\" ,\t5,.5\n7,8,1e-3", 1, 3);
  c.args[2] = (JobSourceArg){"skip", NULL, 1, 0}, c.source.n_args = 3;
  const DataPart *p = case_open(&c, "train");
  assert_non_null(p);
  assert_int_equal(p->rows, 3);
  const float want[] = {2.5f, -300, 5, 0.5f, 8, 1e-3f};
  assert_memory_equal(p->columns[0], want, sizeof want);
  data_close(&c.data);
  csv_case(&c, "1,2147483647\n", 1, 2); /* integers are exact */
  c.column.rank = 0, c.column.dtype = JOB_I32;
  p = case_open(&c, "train");
  assert_int_equal(((const int32_t *)p->columns[0])[0], 2147483647);
  data_close(&c.data);
}

static void test_csv_refused(void **state) {
  (void)state;
  Case c;
  csv_case(&c, "1,2\n3,oops\n", 0, 2);
  case_fails(&c, RT_E0705, "f.csv:2:3: `oops` is not a number");
  csv_case(&c, "1,2\n3,\n", 0, 2);
  case_fails(&c, RT_E0705, "f.csv:2:3: the field is empty");
  csv_case(&c, "1,2\n3\n", 0, 2);
  case_fails(&c, RT_E0705, "f.csv:2:2: 1 fields, but the lines before have 2");
  csv_case(&c, "1,2\n3,4,5\n", 0, 2);
  case_fails(&c, RT_E0705, "3 fields, but the lines before have 2");
  csv_case(&c, "1,2\n", 1, 3);
  case_fails(&c, RT_E0705, "column `x` needs field 2, but the line has 2 fields");
  csv_case(&c, "", 0, 1);
  case_fails(&c, RT_E0702, "it is empty");
  csv_case(&c, "\n\n", 0, 1);
  case_fails(&c, RT_E0702, "no line with data");
  csv_case(&c, "1\n", 0, 9e8);
  case_fails(&c, RT_E0702, "more fields than the file has bytes");
  csv_case(&c, "1\n", 0, 1);
  c.args[1].num = 0.5;
  case_fails(&c, RT_E0711, "must be a number of fields");
  csv_case(&c, "0x10\n", 0, 1);
  case_fails(&c, RT_E0705, "`0x10` is not a number");
  c.source.n_args = 1;
  case_fails(&c, RT_E0712, "source `s` has no column `x`");
  c.source.n_args = 0;
  c.args[1].key = "path";
  case_fails(&c, RT_E0712, "has no column");
}

/* ---- parts, ranges, paths
 * --------------------------------------------------------------------------------------------------- */
static void test_range(void **state) {
  (void)state;
  Case c;
  csv_case(&c, "0\n9\n4\n3\n2\n11\n", 0, 1);
  c.column.name = "x", c.column.rank = 0, c.column.dtype = JOB_I32, c.column.has_range = true,
  c.column.lo = 0, c.column.hi = 9;
  case_fails(&c, RT_E0715, "x 11 at row 5 of train is outside 0 ..= 9");
  assert_int_equal(c.e.span.line, 3);
  csv_case(&c, "0\nnan\n", 0, 1);
  c.column.rank = 0, c.column.has_range = true, c.column.lo = 0, c.column.hi = 9;
  case_fails(&c, RT_E0715, "at row 1 of train");
}

static const DataPart *holdout(Case *c, double n, double seed, const char *part) {
  char text[2048] = "";
  for (int i = 0; i < 100; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%d\n", i);
  csv_case(c, text, 0, 1);
  c->column.rank = 0, c->column.dtype = JOB_I32;
  c->args[2] = (JobSourceArg){"holdout", NULL, n, 0},
  c->args[3] = (JobSourceArg){"holdout_seed", NULL, seed, 0};
  c->source.n_args = seed < 0 ? 3 : 4;
  return case_open(c, part);
}

static void test_holdout(void **state) {
  (void)state;
  Case c, d;
  const DataPart *train = holdout(&c, 30, -1, "train"), *test = data_part(&c.data, 0, "test");
  assert_int_equal(train->rows, 70);
  assert_int_equal(test->rows, 30);
  int seen[100] = {0}, sorted = 1;
  for (int i = 0; i < 70; i++) seen[((const int32_t *)train->columns[0])[i]]++;
  for (int i = 0; i < 30; i++)
    seen[((const int32_t *)test->columns[0])[i]]++,
        sorted &= ((const int32_t *)test->columns[0])[i] == 70 + i;
  for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
  assert_false(sorted);
  test = holdout(&d, 0.3, 1234, "test"); /* a fraction; the seed that is the default */
  assert_int_equal(test->rows, 30);
  assert_memory_equal(test->columns[0], data_part(&c.data, 0, "test")->columns[0], 30 * 4);
  data_close(&d.data);
  test = holdout(&d, 30, 5, "test");
  assert_memory_not_equal(test->columns[0], data_part(&c.data, 0, "test")->columns[0], 30 * 4);
  data_close(&c.data), data_close(&d.data);
  assert_null(holdout(&c, 100, -1, "train"));
  assert_int_equal(c.e.code, RT_E0711);
  assert_null(holdout(&c, 2.5, -1, "train"));
  assert_null(holdout(&c, -1, -1, "train"));
  csv_case(&c, "1\n2\n", 0, 1);
  c.eval = (JobEval){.name = "quality", .part = "test", .span = {"a.route", 9, 1}};
  c.job.evals = &c.eval, c.job.n_evals = 1;
  case_fails(&c, RT_E0717, "source `s` has no part `test`; give it one with `holdout = N`");
}

static void test_sources(void **state) {
  (void)state;
  Case c;
  case_make(&c, "parquet", "path", "f", JOB_F32, 0, 0, 0);
  case_fails(&c, RT_E0710, "unknown reader `parquet`");
  case_make(&c, "none", "rows", NULL, JOB_F32, 0, 0, 0);
  case_fails(&c, RT_E0712, "`none` has no columns");
  c.job.n_columns = 0, c.args[0].num = 12;
  const DataPart *p = case_open(&c, "train");
  assert_int_equal(p->rows, 12);
  data_close(&c.data);
  case_make(&c, "npy", "y", "f.npy", JOB_F32, 0, 0, 0);
  case_fails(&c, RT_E0712, "name its file as an argument");
  case_make(&c, "npz", "y", "f.npy", JOB_F32, 0, 0, 0);
  case_fails(&c, RT_E0711, "the path is missing");
  /* two columns of different length */
  write_bytes("a", idx_bytes, sizeof idx_bytes);
  const uint8_t three[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3};
  write_bytes("b", three, sizeof three);
  case_make(&c, "idx", "x", "a", JOB_U8, 2, 2, 3);
  c.args[1] = (JobSourceArg){"y", "b", 0, 0}, c.source.n_args = 2;
  JobColumn two[2] = {c.column, {.name = "y", .dtype = JOB_U8}};
  c.job.columns = two, c.job.n_columns = 2;
  assert_false(data_open(&c.data, &c.job, NULL, NULL, &c.e));
  assert_string_equal(c.e.message, "column `y` has 3 rows, but column `x` has 2");
}

static void expand(const char *text, const char *data_dir, const char *spec, const char *want) {
  RtError e = {0};
  char *out = NULL;
  bool ok = data_expand_path(text, data_dir, spec, NULL, &out, &e);
  if (!ok) assert_null(want);
  else assert_string_equal(out, want);
  free(out);
}

static void test_paths(void **state) {
  (void)state;
  setenv("TOY_VAR", "/there", 1), unsetenv("TOY_NOT"), unsetenv("ROUTEC_DATA");
  expand("$TOY_VAR/a", NULL, NULL, "/there/a");
  expand("x${TOY_VAR}y", NULL, NULL, "x/therey");
  expand("$ROUTEC_DATA/mnist", NULL, NULL, "data/mnist");
  expand("$ROUTEC_DATA/mnist", "/d", NULL, "/d/mnist");
  setenv("ROUTEC_DATA", "/env", 1);
  expand("$ROUTEC_DATA/mnist", NULL, NULL, "/env/mnist");
  expand("$ROUTEC_DATA/mnist", "/d", NULL, "/d/mnist");
  expand("$TOY_NOT/a", NULL, NULL, NULL);
  expand("${TOY_VAR/a", NULL, NULL, NULL);
  expand("cost$", NULL, NULL, NULL);
  assert_int_equal(mkdir("specs", 0777), 0);
  write_bytes("specs/f.csv", "1\n", 2);
  expand("f.csv", NULL, "specs/a.route", "specs/f.csv"); /* beside the spec */
  expand("data.csv", NULL, "specs/a.route", "data.csv"); /* else as it stands */
  unsetenv("ROUTEC_DATA");
}

static void test_mnist_refused(void **state) {
  (void)state;
  Case c;
  assert_int_equal(mkdir("m", 0777), 0);
  case_make(&c, "mnist", "path", "m", JOB_U8, 2, 28, 28);
  case_fails(&c, RT_E0712, "mnist gives `image` and `label`");
  c.column.name = "image";
  case_fails(&c, RT_E0701, "m/train-images-idx3-ubyte");
  const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3};
  write_bytes("m/train-images-idx3-ubyte", labels, sizeof labels);
  case_fails(&c, RT_E0702, "images must be bytes with three axes");
  c.args[1] = (JobSourceArg){"holdout", NULL, 3, 0}, c.source.n_args = 2;
  case_fails(&c, RT_E0711, "has a test part of its own");
}

static void test_mnist(void **state) {
  const char *root = getenv("ROUTEC_TEST_DATA");
  char path[512];
  (void)state;
  snprintf(path, sizeof path, "%s/mnist", root ? root : "");
  if (!root || access(path, R_OK) != 0) {
    print_message("SKIPPED: no mnist folder in $ROUTEC_DATA\n");
    skip();
  }
  Case c;
  case_make(&c, "mnist", "path", path, JOB_U8, 2, 28, 28);
  JobColumn columns[2] = {c.column, {.name = "label", .dtype = JOB_U8, .has_range = true, .hi = 9}};
  columns[0].name = "image";
  c.eval = (JobEval){.name = "q", .part = "test"};
  c.job.columns = columns, c.job.n_columns = 2, c.job.evals = &c.eval, c.job.n_evals = 1;
  c.source.args = c.args, c.job.sources = &c.source;
  assert_true(data_open(&c.data, &c.job, NULL, NULL, &c.e));
  const DataPart *train = data_part(&c.data, 0, "train"), *test = data_part(&c.data, 0, "test");
  assert_int_equal(train->rows, 60000);
  assert_int_equal(test->rows, 10000);
  const uint8_t first[] = {5, 0, 4, 1, 9};
  assert_memory_equal(train->columns[1], first, 5);
  double sum = 0;
  for (int64_t i = 0; i < 60000 * 784; i++) sum += ((const uint8_t *)train->columns[0])[i];
  assert_true(fabs(sum / (60000.0 * 784 * 255) - 0.1307) < 1e-4); /* the well-known mean */
  data_close(&c.data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, toy_setup, toy_teardown)
int main(void) {
  const char *data = getenv("ROUTEC_DATA"); /* the tests of paths change it */
  char *kept = data ? realpath(data, NULL) : NULL;
  if (kept) setenv("ROUTEC_TEST_DATA", kept, 1);
  free(kept);
  const struct CMUnitTest tests[] = {
      T(test_idx),   T(test_idx_refused),   T(test_gzip_refused), T(test_gzip_members), T(test_npy),     T(test_npz),
      T(test_csv),   T(test_csv_refused),   T(test_range),        T(test_holdout), T(test_sources),
      T(test_paths), T(test_mnist_refused), T(test_mnist)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
