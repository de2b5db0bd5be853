/* LD_PRELOAD: lets the n-th call of a kind on files below a folder fail, or kills the process just before it; and turns
   the clock back. Settings come from the environment:

   FAULT_UNDER   the folder; where it is unset nothing fails
   FAULT_CALLS   a file to which each call on files below the folder adds a line: its kind and the file
   FAULT_KIND    write (with pwrite), fsync, rename, open (for writing), close, ftruncate, unlink, mkdir
   FAULT_NTH     which call of the kind, from 1
   FAULT_ERRNO   the error; 0: a write of half the bytes, and the next call fails with ENOSPC; -1: SIGKILL before the call;
                    -2: a C++ exception instead of a write, as from an error that nobody foresaw
   FAULT_STICKY  also all later calls of the kind fail
   FAULT_OLD     a file that gets a copy of what the call's file was to replace, or to add to
   FAULT_CLOCK   seconds by which the wall clock goes back, after FAULT_CLOCK_AFTER readings of it */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long number(const char *name) {
  const char *text = getenv(name);
  return text != NULL ? atol(text) : 0;
}

/* The path that belongs to a descriptor; empty where there is none. */
static const char *path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, PATH_MAX - 1);
  path[size > 0 ? size : 0] = '\0';
  return path;
}

/* ".NAME.tmp.PID" stands for "NAME". */
static void copy_old(const char *path, const char *to) {
  char old[PATH_MAX], bytes[1 << 16];
  snprintf(old, sizeof old, "%s", path);
  char *name = strrchr(old, '/') + 1, *end = strstr(name, ".tmp.");
  if (name[0] == '.' && end != NULL) {
    *end = '\0';
    memmove(name, name + 1, strlen(name));
  }
  const int in = (int)syscall(SYS_openat, AT_FDCWD, old, O_RDONLY), out = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  for (ssize_t got; in >= 0 && (got = read(in, bytes, sizeof bytes)) > 0;) syscall(SYS_write, out, bytes, got);
  syscall(SYS_close, in);
  syscall(SYS_close, out);
  if (in < 0) syscall(SYS_unlinkat, AT_FDCWD, to, 0);
}

/* The error that this call has to fail with, 0 for a short write, or -1 where it is to go through. */
static int fate(const char *kind, const char *path) {
  static long count = 0;
  static int over = 0;
  const char *under = getenv("FAULT_UNDER"), *calls = getenv("FAULT_CALLS"), *wanted = getenv("FAULT_KIND");
  if (under == NULL || strncmp(path, under, strlen(under)) != 0) return -1;
  if (calls != NULL) {
    char line[PATH_MAX + 32];
    const int size = snprintf(line, sizeof line, "%s %s\n", kind, path);
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, calls, O_WRONLY | O_CREAT | O_APPEND, 0600);
    syscall(SYS_write, fd, line, size);
    syscall(SYS_close, fd);
  }
  if (wanted == NULL || strcmp(kind, wanted) != 0) return -1;
  const long nth = number("FAULT_NTH"), error = number("FAULT_ERRNO");
  ++count;
  if (over) return ENOSPC;
  if (count < nth || (count > nth && getenv("FAULT_STICKY") == NULL)) return -1;
  if (error == -1) kill(getpid(), SIGKILL);
  if (error == -2) ((void (*)(const char *))dlsym(RTLD_DEFAULT, "_ZSt19__throw_logic_errorPKc"))("nobody foresaw this");
  if (count == nth && getenv("FAULT_OLD") != NULL) copy_old(path, getenv("FAULT_OLD"));
  if (error == 0) over = 1;
  return (int)error;
}

#define NEXT(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)
#define FAIL(kind, path)                \
  do {                                  \
    const int error = fate(kind, path); \
    if (error > 0) {                    \
      errno = error;                    \
      return -1;                        \
    }                                   \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t size) {
  char path[PATH_MAX];
  const int error = fate("write", path_of(fd, path));
  if (error > 0) {
    errno = error;
    return -1;
  }
  return NEXT(write, fd, bytes, error == 0 && size > 1 ? size / 2 : size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
  char path[PATH_MAX];
  FAIL("write", path_of(fd, path));
  return NEXT(pwrite, fd, bytes, size, at);
}

int fsync(int fd) {
  char path[PATH_MAX];
  FAIL("fsync", path_of(fd, path));
  return NEXT(fsync, fd);
}

int ftruncate(int fd, off_t size) {
  char path[PATH_MAX];
  FAIL("ftruncate", path_of(fd, path));
  return NEXT(ftruncate, fd, size);
}

int close(int fd) {
  char path[PATH_MAX];
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return NEXT(close, fd);
  const int error = fate("close", path_of(fd, path));
  const int done = NEXT(close, fd);
  if (error <= 0) return done;
  errno = error;
  return -1;
}

int rename(const char *from, const char *to) {
  FAIL("rename", to);
  return NEXT(rename, from, to);
}

int unlink(const char *path) {
  FAIL("unlink", path);
  return NEXT(unlink, path);
}

int remove(const char *path) {
  FAIL("unlink", path);
  return NEXT(remove, path);
}

int mkdir(const char *path, mode_t mode) {
  FAIL("mkdir", path);
  return NEXT(mkdir, path, mode);
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  va_end(more);
  if ((flags & O_ACCMODE) != O_RDONLY) FAIL("open", path);
  return NEXT(open, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at) __attribute__((alias("pwrite")));

static time_t turned_back(void) {
  static long readings = 0;
  return ++readings > number("FAULT_CLOCK_AFTER") ? number("FAULT_CLOCK") : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  const int done = NEXT(clock_gettime, clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec -= turned_back();
  return done;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now != NULL) *now = exact.tv_sec;
  return exact.tv_sec;
}
