/* Condition variables as glibc had them before 2.25, for a program of today: another layout of the same 48 bytes, and
 * another word to sleep on. Preloaded into one of two processes that share a Berkeley DB environment, it makes what a
 * replaced C library made of it: one side waits in the new way, the other releases in the old one.
 *
 * It needs no library, so that it can be built on any machine: cc -shared -fPIC -nostdlib.
 */

typedef unsigned long long u64;
typedef struct {
    int lock;
    unsigned word;
    u64 total, woken_up, woken;
    void *mutex;
    unsigned users, broadcasts;
} old_condition;

extern int pthread_mutex_lock(void *mutex);
extern int pthread_mutex_unlock(void *mutex);

enum { WAIT = 0, WAKE = 1, ALL = 0x7fffffff };

static long sleep_or_wake(void *word, long operation, long value)
{
#if defined(__x86_64__)
    long result;
    register long timeout __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(202L), "D"(word), "S"(operation), "d"(value), "r"(timeout)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long number __asm__("x8") = 98;
    register long first __asm__("x0") = (long)word;
    register long second __asm__("x1") = operation;
    register long third __asm__("x2") = value;
    register long fourth __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second), "r"(third), "r"(fourth) : "memory");
    return first;
#else
#error "this machine's system calls are not known here"
#endif
}

static void take(int *lock)
{
    int expected = 0;
    if (__atomic_compare_exchange_n(lock, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE) != 0)
        sleep_or_wake(lock, WAIT, 2);
}

static void give(int *lock)
{
    if (__atomic_exchange_n(lock, 0, __ATOMIC_RELEASE) > 1)
        sleep_or_wake(lock, WAKE, 1);
}

int pthread_cond_init(old_condition *condition, const void *attributes)
{
    *condition = (old_condition){.mutex = attributes ? (void *)-1L : 0};
    return 0;
}

int pthread_cond_destroy(old_condition *condition)
{
    (void)condition;
    return 0;
}

int pthread_cond_signal(old_condition *condition)
{
    take(&condition->lock);
    if (condition->total > condition->woken_up) {
        ++condition->woken_up;
        ++condition->word;
        sleep_or_wake(&condition->word, WAKE, 1);
    }
    give(&condition->lock);
    return 0;
}

int pthread_cond_broadcast(old_condition *condition)
{
    take(&condition->lock);
    if (condition->total > condition->woken_up) {
        condition->woken_up = condition->woken = condition->total;
        condition->word = 2 * (unsigned)condition->total;
        ++condition->broadcasts;
        sleep_or_wake(&condition->word, WAKE, ALL);
    }
    give(&condition->lock);
    return 0;
}

int pthread_cond_wait(old_condition *condition, void *mutex)
{
    take(&condition->lock);
    pthread_mutex_unlock(mutex);
    ++condition->total;
    ++condition->word;
    u64 before = condition->woken_up, now;
    unsigned broadcasts = condition->broadcasts;
    do {
        unsigned value = condition->word;
        give(&condition->lock);
        sleep_or_wake(&condition->word, WAIT, value);
        take(&condition->lock);
        if (broadcasts != condition->broadcasts)
            goto out;
        now = condition->woken_up;
    } while (now == before || condition->woken == now);
    ++condition->woken;
out:
    give(&condition->lock);
    return pthread_mutex_lock(mutex);
}
