/* SPDX-License-Identifier: Apache-2.0
 * plugin.c -- loading a shared object that nobody has reason to trust: its bytes are compared with what was
 * asked for, a child process loads it first, its ABI is compared before its tables are read, and its tables
 * before they are used. */
#include "plugin.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sha256.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENTRY "route_plugin_v1"
enum { LOAD_SECONDS = 10, MOST_BYTES = 1 << 30 };

bool rt_plugin_sha256(const char *path, char hex[RT_SHA256_TEXT], RtError *e) {
  SHA2_CTX c;
  struct stat st;
  uint8_t block[1 << 14], digest[SHA256_DIGEST_LENGTH];
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not make us wait */
  if (fd < 0) return rt_fail(e, RT_E0750, path, strerror(errno));
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return rt_fail(e, RT_E0750, path, "it is no regular file");
  }
  if (st.st_size > MOST_BYTES) {
    close(fd);
    return rt_fail(e, RT_E0750, path, "it is larger than 1 GiB");
  }
  SHA256Init(&c);
  ssize_t n;
  while ((n = read(fd, block, sizeof block)) > 0) SHA256Update(&c, block, (size_t)n);
  const int error = errno;
  close(fd);
  if (n < 0) return rt_fail(e, RT_E0750, path, strerror(error));
  SHA256Final(digest, &c);
  for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return true;
}

/* `path` is the file as messages name it, `real` the one that is opened. */
/* ---- in this process
 * ------------------------------------------------------------------------------------------------ */
static const RoutePlugin *open_plugin(const char *real, const char *path, RtError *e) {
  typedef const RoutePlugin *Entry(void);
  char why[600];
  dlerror();
  void *object = dlopen(real, RTLD_NOW | RTLD_LOCAL); /* never closed: its code and tables stay in use */
  if (!object) {
    rt_fail(e, RT_E0752, path, dlerror());
    return NULL;
  }
  Entry *entry = NULL;
  *(void **)&entry = dlsym(object, ENTRY);
  if (!entry) {
    const char *said = dlerror();
    rt_fail(e, RT_E0753, path, said ? said : "its function " ENTRY " is nowhere");
    return NULL;
  }
  const RoutePlugin *p = entry();
  if (!rt_plugin_abi_same(p, why, sizeof why)) {
    rt_fail(e, RT_E0753, path, why);
    return NULL;
  }
  if (rt_plugin_verify(p, why, sizeof why)) return p;
  rt_fail(e, RT_E0754, path, why);
  return NULL;
}

/* ---- in a child
 * ------------------------------------------------------------------------------------------------------- */
static void child_main(const char *real, const char *path, int report) {
  static const int signals[] = {SIGSEGV, SIGBUS,  SIGILL, SIGFPE,  SIGABRT, SIGTRAP,
                                SIGSYS,  SIGTERM, SIGINT, SIGPIPE, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    signal(signals[i], SIG_DFL); /* sanitizers catch some */
  setrlimit(RLIMIT_CORE, &(struct rlimit){0});
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3 && null >= 0; fd++)
    dup2(null, fd); /* what it says is said once, by the process that goes on */
  RtError e = {0};
  open_plugin(real, path, &e);
  const uint8_t *bytes = (const uint8_t *)&e;
  for (size_t done = 0; done < sizeof e;) {
    const ssize_t n = write(report, bytes + done, sizeof e - done);
    if (n <= 0) break;
    done += (size_t)n;
  }
  _exit(0);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What the child reports, until its end or the time limit. */
static void read_report(int from, double end, RtError *e, size_t *got) {
  for (*got = 0; *got < sizeof *e;) {
    const double left = end - now();
    struct pollfd p = {.fd = from, .events = POLLIN};
    const int ready = left > 0 ? poll(&p, 1, (int)(left * 1e3) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    const ssize_t n = read(from, (uint8_t *)e + *got, sizeof *e - *got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    *got += (size_t)n;
  }
}

/* The child's exit status; one that is not done in time is killed. */
static bool reap(pid_t child, double end, int *status) {
  bool in_time = true;
  for (;;) {
    const pid_t done = waitpid(child, status, WNOHANG);
    if (done == child || (done < 0 && errno != EINTR)) return in_time;
    if (in_time && now() > end) in_time = false, kill(child, SIGKILL);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

static void say_end(const char *path, int status, bool in_time, RtError *e) {
  char why[200];
  if (!in_time) {
    snprintf(why, sizeof why, "it did not finish loading within %d seconds", LOAD_SECONDS);
  } else if (WIFSIGNALED(status)) {
    const char *name = sigabbrev_np(WTERMSIG(status));
    snprintf(why, sizeof why, "loading it ended with signal SIG%s (%s)", name ? name : "?",
             strsignal(WTERMSIG(status)));
  } else {
    snprintf(why, sizeof why, "loading it ended the process with exit status %d", WEXITSTATUS(status));
  }
  rt_fail(e, RT_E0752, path, why);
}

/* Loads it in a child. false: error filled. */
static bool try_plugin(const char *real, const char *path, RtError *e) {
  int ends[2], status = 0;
  if (pipe2(ends, O_CLOEXEC) != 0) return rt_fail(e, RT_E0752, path, strerror(errno));
  fflush(NULL);
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]), close(ends[1]);
    return rt_fail(e, RT_E0752, path, strerror(error));
  }
  if (child == 0) child_main(real, path, ends[1]);
  close(ends[1]);
  RtError told;
  size_t got;
  const double end = now() + LOAD_SECONDS;
  read_report(ends[0], end, &told, &got);
  close(ends[0]);
  const bool in_time = reap(child, end, &status), whole = got == sizeof told;
  if (!whole) say_end(path, status, in_time, e);
  else if (told.code != RT_NO_ERROR) *e = told;
  return whole && told.code == RT_NO_ERROR;
}

/* ---- the door
 * ---------------------------------------------------------------------------------------------------------
 */
typedef struct Loaded { /* what was loaded stays */
  struct Loaded *next;
  const RoutePlugin *plugin;
  char sha256[RT_SHA256_TEXT];
  char path[];
} Loaded;
static Loaded *loaded;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static const RoutePlugin *load_once(const char *real, const char *path, const char *sha256, RtError *e) {
  for (const Loaded *l = loaded; l; l = l->next)
    if (!strcmp(l->path, real) && !strcmp(l->sha256, sha256)) return l->plugin;
  const RoutePlugin *p = try_plugin(real, path, e) ? open_plugin(real, path, e) : NULL;
  const size_t n = strlen(real) + 1;
  Loaded *l = p ? malloc(sizeof *l + n) : NULL;
  if (!l) return p;
  l->next = loaded, l->plugin = p;
  memcpy(l->path, real, n);
  memcpy(l->sha256, sha256, RT_SHA256_TEXT);
  loaded = l;
  return p;
}

const RoutePlugin *rt_plugin_load(const char *path, const char *sha256, char found[RT_SHA256_TEXT], RtError *e) {
  char own[RT_SHA256_TEXT], *real = realpath(path, NULL);
  if (!found) found = own;
  *found = 0;
  if (!real) {
    rt_fail(e, RT_E0750, path, strerror(errno));
    return NULL;
  }
  const RoutePlugin *p = NULL;
  if (!rt_plugin_sha256(real, found, e)) p = NULL;
  else if (sha256 && strcasecmp(sha256, found) != 0) rt_fail(e, RT_E0751, path, found, sha256);
  else {
    pthread_mutex_lock(&loading);
    p = load_once(real, path, found, e);
    pthread_mutex_unlock(&loading);
  }
  free(real);
  return p;
}
