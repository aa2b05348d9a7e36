/* A disk whose cache is lost when the power goes: preloaded into user-mode Linux.
 *
 * Every write to the file VOLATILE_DISK is done, and what was there before is first appended to VOLATILE_JOURNAL as
 * (offset, length, old content). A flush of the guest makes the journal empty but for its head, the number of flushes.
 * What is in it after a kill are thus the writes that a real disk might have lost: any of them, and any sector of them.
 *
 * The guest's driver hands requests to a thread of its own as pointers through a pipe, and forgets to call fsync for a
 * flush, which is a request without a part that is read or written. So flushes are seen where the thread reads them.
 * The block layer sends a flush when the writes that it covers have been completed: none of these is still in the pipe.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LARGEST (4 << 20)

static int journal = -1;
static dev_t device;
static ino_t inode;
static uint64_t end = 8, flushes;
static pid_t kernel;
static char record[16 + LARGEST];

static int is_disk(int descriptor)
{
    struct stat found;

    if (journal < 0)
        return 0;
    return fstat(descriptor, &found) == 0 && found.st_ino == inode && found.st_dev == device;
}

__attribute__((constructor)) static void begin(void)
{
    const char *disk = getenv("VOLATILE_DISK"), *path = getenv("VOLATILE_JOURNAL");
    struct stat found;

    if (!disk || !path || stat(disk, &found) != 0)
        return;
    device = found.st_dev;
    inode = found.st_ino;
    kernel = (pid_t)syscall(SYS_gettid);
    journal = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void remember(int descriptor, size_t length, off_t offset)
{
    uint64_t head[2] = {(uint64_t)offset, (uint64_t)length};
    ssize_t had;

    if (length > LARGEST)
        abort();
    had = syscall(SYS_pread64, descriptor, record + 16, length, offset);
    if (had < 0)
        abort();
    memset(record + 16 + had, 0, length - (size_t)had);
    memcpy(record, head, 16);
    if (syscall(SYS_pwrite64, journal, record, 16 + length, end) != (ssize_t)(16 + length))
        abort();
    end += 16 + length;
}

ssize_t pwrite64(int descriptor, const void *content, size_t length, off_t offset)
{
    if (is_disk(descriptor))
        remember(descriptor, length, offset);
    return syscall(SYS_pwrite64, descriptor, content, length, offset);
}

static void flush(void)
{
    flushes++;
    end = 8;
    if (syscall(SYS_ftruncate, journal, 0) != 0 || syscall(SYS_pwrite64, journal, &flushes, 8, 0) != 8)
        abort();
}

/* The driver's request: the block layer's, two descriptors, two offsets, an offset, sector size, error, parts. */
struct io_thread_req {
    void *request;
    int descriptors[2];
    unsigned long offsets[2];
    unsigned long long offset;
    int sector_size, error, parts;
};

ssize_t read(int descriptor, void *content, size_t length)
{
    ssize_t had = syscall(SYS_read, descriptor, content, length);

    if (journal >= 0 && had > 0 && had % 8 == 0 && (pid_t)syscall(SYS_gettid) != kernel) {
        struct io_thread_req **requests = content;

        for (ssize_t number = 0; number < had / 8; number++)
            if (requests[number]->parts == 0)
                flush();
    }
    return had;
}
