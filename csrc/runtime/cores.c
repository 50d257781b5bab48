/* cores.c - how many cores this process may use: affinity and the cgroup's CPU quota. */
#define _GNU_SOURCE
#include "threads.h"

#include <stdio.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>

static size_t cores_affinity(void)
{
    cpu_set_t sets[8]; /* 8192 cores; the kernel refuses a set smaller than its own */
    if (sched_getaffinity(0, sizeof sets, sets))
        return 0;
    return (size_t)CPU_COUNT_S(sizeof sets, sets);
}

int cores_here(void) { return sched_getcpu(); }

int cores_keep_off(pthread_t thread, int cpu)
{
    cpu_set_t set;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof set, &set))
        return 0;
    CPU_CLR((size_t)cpu, &set);
    return CPU_COUNT(&set) && !pthread_setaffinity_np(thread, sizeof set, &set);
}

/* The first line of the file `folder`/`name`, as two words; how many there are. */
static int cores_words(const char *folder, const char *name, char a[32], char b[32])
{
    char path[4400];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const int count = fscanf(file, "%31s %31s", a, b);
    fclose(file);
    return count;
}

/* `quota` of every `period` microseconds, in cores rounded up; 0: no limit. */
static size_t cores_of(const char *quota, const char *period)
{
    long long q, p;
    if (sscanf(quota, "%lld", &q) != 1 || sscanf(period, "%lld", &p) != 1 || q <= 0 || p <= 0)
        return 0; /* "max" and -1 mean none */
    return (size_t)((q + p - 1) / p);
}

/* The smallest quota of the group `path` below `root` and of its parents; 0: none. */
static size_t cores_quota_below(const char *root, const char *path, int v2)
{
    char folder[4352];
    if (snprintf(folder, sizeof folder, "%s%s", root, path) >= (int)sizeof folder)
        return 0;
    size_t min = 0;
    const size_t stem = strlen(root);
    for (char *end = folder + strlen(folder);; *end = 0) {
        char a[32] = "", b[32] = "", rest[32];
        size_t cores = 0;
        if (v2 ? cores_words(folder, "cpu.max", a, b) == 2
               : cores_words(folder, "cpu.cfs_quota_us", a, rest) >= 1 &&
                     cores_words(folder, "cpu.cfs_period_us", b, rest) >= 1)
            cores = cores_of(a, b);
        if (cores && (!min || cores < min))
            min = cores;
        end = strrchr(folder, '/');
        if (!end || (size_t)(end - folder) < stem)
            return min;
    }
}

static size_t cores_quota(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file)
        return 0;
    size_t min = 0;
    char line[4200];
    while (fgets(line, sizeof line, file)) { /* 0::/path, or 4:cpu,cpuacct:/path */
        char *groups = strchr(line, ':'), *path = groups ? strchr(groups + 1, ':') : NULL;
        if (!path)
            continue;
        *groups++ = *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        if (!strcmp(path, "/"))
            *path = 0;
        const int v2 = !*groups;
        int cpu = v2;
        for (char *word = groups, *comma; word && !cpu; word = comma) {
            comma = strchr(word, ',');
            cpu = comma ? comma++ - word == 3 && !strncmp(word, "cpu", 3) : !strcmp(word, "cpu");
        }
        if (!cpu)
            continue;
        static const char *const roots[2][2] = { { "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct" },
                                                 { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" } };
        for (int i = 0; i < 2; i++) {
            const size_t cores = cores_quota_below(roots[v2][i], path, v2);
            if (cores && (!min || cores < min))
                min = cores;
        }
    }
    fclose(file);
    return min;
}
#else
static size_t cores_affinity(void) { return 0; }
static size_t cores_quota(void) { return 0; }
int cores_here(void) { return -1; }
int cores_keep_off(pthread_t thread, int cpu)
{
    (void)thread;
    (void)cpu;
    return 0;
}
#endif

size_t pcx_cores(void)
{
    size_t cores = cores_affinity();
    if (!cores) {
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        cores = online > 0 ? (size_t)online : 1;
    }
    const size_t allowed = cores_quota();
    return max_size(1, allowed ? min_size(cores, allowed) : cores);
}
