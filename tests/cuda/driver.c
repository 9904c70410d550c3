/* A stand-in for NVIDIA's driver, libcuda.so.1, with one GPU that is not there.
 *
 * Memory is the host's, streams and events are numbers, and a launch is handed to `fake_hooks`, which
 * a test sets. What Numba's CUDA package asks for beyond this says CUDA_ERROR_NOT_SUPPORTED, and its
 * name on stderr. Nothing runs at the same time as anything else. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int R; /* CUresult */
typedef void *H; /* handle, or an address on the device */

typedef void (*launch_hook)(const char *name, const unsigned *grid, const unsigned *block, H stream,
                            void **parameters);
typedef void (*note_hook)(const char *what, H first, H second);
typedef void (*memory_hook)(H address, uint64_t size);

static launch_hook on_launch;
static note_hook on_note;
static memory_hook on_new, on_drop;

void fake_hooks(launch_hook launch, note_hook note, memory_hook new, memory_hook drop) {
    on_launch = launch, on_note = note, on_new = new, on_drop = drop;
}

static void note(const char *what, H first, H second) {
    if (on_note) on_note(what, first, second);
}

static char contexts[4];
static H current;
/* Handles of streams and events are numbers that no address has. */
static uintptr_t next_handle = 0x1000;

static H handle(void) { return (H)(next_handle += 16); }

R cuInit(unsigned flags) { return 0; }
R cuDriverGetVersion(int *v) { *v = 13000; return 0; }
R cuDeviceGetCount(int *n) { *n = 1; return 0; }
R cuDeviceGet(int *d, int i) { *d = i; return i ? 101 : 0; }
R cuDeviceGetName(char *s, int n, int d) { snprintf(s, n, "Stand-in"); return 0; }
R cuDeviceGetUuid_v2(char *u, int d) { memset(u, 7, 16); return 0; }
R cuDeviceGetUuid(char *u, int d) { return cuDeviceGetUuid_v2(u, d); }
R cuDeviceTotalMem_v2(size_t *n, int d) { *n = (size_t)1 << 34; return 0; }
R cuDeviceCanAccessPeer(int *c, int a, int b) { *c = 0; return 0; }
R cuDeviceGetAttribute(int *v, int attribute, int d) {
    switch (attribute) {
    case 1: *v = 1024; break;                       /* threads of a block */
    case 2: case 3: *v = 1024; break;
    case 4: *v = 64; break;
    case 5: *v = 0x7fffffff; break;                 /* grid */
    case 6: case 7: *v = 65535; break;
    case 8: *v = 48 << 10; break;                   /* shared memory of a block */
    case 10: *v = 32; break;                        /* warp */
    case 12: *v = 65536; break;
    case 13: *v = 1980000; break;                   /* clock */
    case 16: *v = 132; break;                       /* multiprocessors */
    case 36: *v = 3201000; break;                   /* clock of the memory */
    case 37: *v = 6144; break;
    case 39: *v = 2048; break;
    case 41: *v = 1; break;
    case 75: *v = 9; break;                         /* compute capability */
    case 76: *v = 0; break;
    case 81: *v = 228 << 10; break;
    case 82: *v = 65536; break;
    case 97: *v = 227 << 10; break;
    default: *v = 0;
    }
    return 0;
}
R cuDevicePrimaryCtxRetain(H *c, int d) { *c = contexts; return 0; }
R cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
R cuDevicePrimaryCtxRelease(int d) { return 0; }
R cuDevicePrimaryCtxReset_v2(int d) { return 0; }
R cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) { *f = 0; *a = 1; return 0; }
R cuCtxGetCurrent(H *c) { *c = current; return 0; }
R cuCtxSetCurrent(H c) { current = c; return 0; }
R cuCtxPushCurrent_v2(H c) { current = c; return 0; }
R cuCtxPushCurrent(H c) { current = c; return 0; }
R cuCtxPopCurrent_v2(H *c) { *c = current; current = NULL; return 0; }
R cuCtxPopCurrent(H *c) { return cuCtxPopCurrent_v2(c); }
R cuCtxGetDevice(int *d) { *d = 0; return 0; }
R cuCtxGetDevice_v2(int *d, H c) { *d = 0; return 0; }
R cuCtxGetId(H c, uint64_t *id) { *id = 1; return 0; }
R cuCtxSynchronize(void) { note("synchronize", NULL, NULL); return 0; }
R cuGetErrorName(R e, const char **s) { *s = "CUDA_ERROR"; return 0; }
R cuGetErrorString(R e, const char **s) { *s = "an error of the stand-in"; return 0; }

/* Memory */
R cuMemGetInfo_v2(size_t *f, size_t *t) { *f = *t = (size_t)1 << 34; return 0; }
R cuMemGetInfo(size_t *f, size_t *t) { return cuMemGetInfo_v2(f, t); }
R cuMemAlloc_v2(H *p, size_t n) {
    size_t whole = (n + 511) / 512 * 512;
    *p = aligned_alloc(512, whole);
    if (!*p) return 2;
    memset(*p, 0xFF, whole);
    if (on_new) on_new(*p, n);
    return 0;
}
R cuMemAlloc(H *p, size_t n) { return cuMemAlloc_v2(p, n); }
R cuMemFree_v2(H p) { if (on_drop) on_drop(p, 0); free(p); return 0; }
R cuMemFree(H p) { return cuMemFree_v2(p); }
R cuMemcpyHtoD_v2(H d, const void *s, size_t n) { note("copy in", 0, d); memcpy(d, s, n); return 0; }
R cuMemcpyHtoDAsync_v2(H d, const void *s, size_t n, H t) { note("copy in", t, d); memcpy(d, s, n); return 0; }
R cuMemcpyDtoH_v2(void *d, H s, size_t n) { note("copy out", 0, s); memcpy(d, s, n); return 0; }
R cuMemcpyDtoHAsync_v2(void *d, H s, size_t n, H t) { note("copy out", t, s); memcpy(d, s, n); return 0; }
R cuMemcpyHtoD(H d, const void *s, size_t n) { return cuMemcpyHtoD_v2(d, s, n); }
R cuMemcpyHtoDAsync(H d, const void *s, size_t n, H t) { return cuMemcpyHtoDAsync_v2(d, s, n, t); }
R cuMemcpyDtoH(void *d, H s, size_t n) { return cuMemcpyDtoH_v2(d, s, n); }
R cuMemcpyDtoHAsync(void *d, H s, size_t n, H t) { return cuMemcpyDtoHAsync_v2(d, s, n, t); }
R cuPointerGetAttribute(void *v, int attribute, H p) { *(H *)v = attribute == 1 ? contexts : p; return 0; }

/* Streams and events */
R cuStreamCreate(H *s, unsigned f) { *s = handle(); return 0; }
R cuStreamDestroy_v2(H s) { return 0; }
R cuStreamDestroy(H s) { return 0; }
R cuStreamSynchronize(H s) { note("synchronize", s, NULL); return 0; }
R cuStreamGetCtx(H s, H *c) { *c = contexts; return 0; }
R cuStreamWaitEvent(H s, H e, unsigned f) { note("wait", s, e); return 0; }
R cuEventCreate(H *e, unsigned f) { *e = handle(); return 0; }
R cuEventRecord(H e, H s) { note("record", s, e); return 0; }
R cuEventQuery(H e) { return 0; }
R cuEventSynchronize(H e) { return 0; }
R cuEventElapsedTime(float *ms, H a, H b) { *ms = 1.0f; return 0; }
R cuEventElapsedTime_v2(float *ms, H a, H b) { *ms = 1.0f; return 0; }
R cuEventDestroy_v2(H e) { return 0; }
R cuEventDestroy(H e) { return 0; }

/* Code: a kernel is its name */
R cuLibraryLoadData(H *l, const void *code, H a, H b, unsigned n, H c, H d, unsigned m) { *l = handle(); return 0; }
R cuLibraryUnload(H l) { return 0; }
R cuLibraryGetKernel(H *k, H l, const char *name) { *k = strdup(name); return 0; }
R cuLibraryGetModule(H *m, H l) { *m = l; return 0; }
R cuModuleLoadDataEx(H *m, const void *code, unsigned n, H o, H v) { *m = handle(); return 0; }
R cuModuleLoadData(H *m, const void *code) { *m = handle(); return 0; }
R cuModuleUnload(H m) { return 0; }
R cuModuleGetFunction(H *f, H m, const char *name) { *f = strdup(name); return 0; }
R cuModuleGetGlobal_v2(H *p, size_t *n, H m, const char *name) { return 500; }
R cuLibraryGetGlobal(H *p, size_t *n, H l, const char *name) { return 500; }
R cuKernelGetFunction(H *f, H k) { *f = k; return 0; }
R cuKernelGetAttribute(int *v, int a, H k, int d) { *v = 0; return 0; }
R cuKernelSetAttribute(int a, int v, H k, int d) { return 0; }
R cuKernelSetCacheConfig(H k, int c, int d) { return 0; }
R cuFuncGetAttribute(int *v, int a, H f) { *v = 0; return 0; }
R cuFuncSetAttribute(H f, int a, int v) { return 0; }
R cuKernelGetParamInfo(H k, size_t i, size_t *o, size_t *s) { return 1; }

struct config { unsigned grid[3], block[3], shared; H stream; };
static R launch(H f, const unsigned *grid, const unsigned *block, H stream, void **parameters) {
    if (on_launch) on_launch((const char *)f, grid, block, stream, parameters);
    return 0;
}
R cuLaunchKernelEx(const struct config *c, H f, void **parameters, void **extra) {
    return launch(f, c->grid, c->block, c->stream, parameters);
}
R cuLaunchKernel(H f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                 unsigned shared, H stream, void **parameters, void **extra) {
    unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    return launch(f, grid, block, stream, parameters);
}

/* Whatever else is asked for */
static R unknown(void) { fprintf(stderr, "stand-in: a function it has not was called\n"); return 801; }

R cuGetProcAddress_v2(const char *name, void **f, int version, uint64_t flags, int *status) {
    char newer[256];
    snprintf(newer, sizeof newer, "%s_v2", name);
    void *self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    *f = self ? dlsym(self, newer) : NULL;
    if (!*f && self) *f = dlsym(self, name);
    if (!strcmp(name, "cuGetProcAddress")) *f = (void *)cuGetProcAddress_v2;
    if (!*f) *f = (void *)unknown;
    if (status) *status = 0;
    return 0;
}
R cuGetProcAddress(const char *name, void **f, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, f, version, flags, NULL);
}
