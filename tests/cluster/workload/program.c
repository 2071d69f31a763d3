// Whatever POSIX and Linux offer an ordinary program: each line must work.
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MUST(call) \
	do { \
		if ((long)(call) == -1) { \
			perror(#call); \
			return 1; \
		} \
	} while (0)

static void *thread(void *value) {
	return value;
}

int main(void) {
	pthread_t other;
	if (pthread_create(&other, NULL, thread, NULL) != 0 || pthread_join(other, NULL) != 0)
		return 1;
	pid_t child;
	char *words[] = {"true", NULL};
	if (posix_spawn(&child, "/bin/true", NULL, NULL, words, NULL) != 0)
		return 1;
	int status, pipes[2];
	MUST(waitpid(child, &status, 0));
	MUST(child = fork());
	if (child == 0)
		_exit(0);
	MUST(waitpid(child, &status, 0));
	MUST(child = vfork());
	if (child == 0)
		_exit(0);
	MUST(waitpid(child, &status, 0));
	MUST(system("exit 0"));

	int file = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600), id;
	MUST(file);
	MUST(fallocate(file, 0, 0, 4096));
	MUST(flock(file, LOCK_EX));
	MUST(posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL));
	MUST(readahead(file, 0, 4096));
	MUST(fsync(file));
	MUST(fdatasync(file));
	MUST(sync_file_range(file, 0, 0, 0));
	MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0));
	MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	MUST(memfd_create("memory", MFD_CLOEXEC));
	MUST(fsetxattr(file, "user.x", "y", 1, 0));
	MUST(fchmod(file, 0644));
	MUST(fchown(file, -1, -1));
	struct statx about;
	MUST(statx(AT_FDCWD, "file", 0, STATX_ALL, &about));
	struct statvfs space;
	MUST(statvfs(".", &space));
	MUST(mkfifo("fifo", 0600));
	MUST(unlink("fifo"));
	MUST(symlink("file", "link"));
	MUST(unlink("link"));
	MUST(pipe2(pipes, O_CLOEXEC));
	MUST(write(pipes[1], "x", 1));
	MUST(splice(pipes[0], NULL, file, NULL, 1, 0));
	MUST(lseek(file, 0, SEEK_SET));
	int copy = open("copy", O_RDWR | O_CREAT, 0600);
	MUST(sendfile(copy, file, NULL, 100));
	MUST(copy_file_range(file, NULL, copy, NULL, 100, 0));

	MUST(epoll_create1(EPOLL_CLOEXEC));
	MUST(eventfd(0, EFD_CLOEXEC));
	MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	MUST(id = inotify_init1(IN_CLOEXEC));
	MUST(inotify_add_watch(id, ".", IN_CREATE));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(signalfd(-1, &set, SFD_CLOEXEC));
	MUST(kill(getpid(), SIGUSR1));
	MUST(sigwaitinfo(&set, NULL));
	timer_t timer;
	MUST(timer_create(CLOCK_REALTIME, NULL, &timer));
	MUST(timer_delete(timer));

	MUST(id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600));
	MUST(shmat(id, NULL, 0));
	MUST(shmctl(id, IPC_RMID, NULL));
	MUST(id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600));
	MUST(semctl(id, 0, IPC_RMID));
	MUST(id = msgget(IPC_PRIVATE, IPC_CREAT | 0600));
	MUST(msgctl(id, IPC_RMID, NULL));
	MUST(shm_open("/anchorhold", O_RDWR | O_CREAT, 0600));
	MUST(shm_unlink("/anchorhold"));
	MUST(mq_open("/anchorhold", O_RDWR | O_CREAT, 0600, NULL));
	MUST(mq_unlink("/anchorhold"));

	int pair[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(socket(AF_INET, SOCK_DGRAM, 0));
	cpu_set_t cpus;
	MUST(sched_getaffinity(0, sizeof cpus, &cpus));
	MUST(sched_setaffinity(0, sizeof cpus, &cpus));
	MUST(sched_yield());
	MUST(setpriority(PRIO_PROCESS, 0, 5));
	struct rlimit limit;
	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	MUST(prctl(PR_SET_NAME, "program", 0, 0, 0));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(personality(0xffffffff));
	MUST(syscall(SYS_membarrier, 0, 0, 0));
	MUST(syscall(SYS_pidfd_open, getpid(), 0));
	MUST(syscall(SYS_close_range, 200, 300, 0));
	MUST(setsid());
	return 0;
}
