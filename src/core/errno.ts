/** The errno numbers of Linux, and their names. */
import { constants } from "node:os";

const namesByNumber = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  // EWOULDBLOCK and ENOTSUP are second names of EAGAIN and EOPNOTSUPP; the kernel uses the latter.
  if (name === "EWOULDBLOCK" || name === "ENOTSUP") continue;
  namesByNumber.set(number, name);
}
/** Linux errno numbers that Node's table leaves out and VFIO or iommufd return. */
const linuxOnly: Readonly<Record<string, number>> = { EBADFD: 77, ENOTUNIQ: 76, EREMOTEIO: 121 };
for (const [name, number] of Object.entries(linuxOnly)) namesByNumber.set(number, name);

/** Errno name as in errno(3), e.g. `ENOENT`; `errno 999` where the number has none. */
export function errnoName(errno: number): string {
  return namesByNumber.get(errno) ?? `errno ${errno}`;
}

/** Numbers of the errnos this library branches on (asm-generic, same on x86-64 and arm64). */
export const Errno = {
  EPERM: constants.errno.EPERM,
  ENOENT: constants.errno.ENOENT,
  EINTR: constants.errno.EINTR,
  EIO: constants.errno.EIO,
  EPIPE: constants.errno.EPIPE,
  ECONNRESET: constants.errno.ECONNRESET,
  ECONNREFUSED: constants.errno.ECONNREFUSED,
  ENXIO: constants.errno.ENXIO,
  E2BIG: constants.errno.E2BIG,
  EAGAIN: constants.errno.EAGAIN,
  EFAULT: constants.errno.EFAULT,
  ENOMSG: constants.errno.ENOMSG,
  EBADF: constants.errno.EBADF,
  ENOMEM: constants.errno.ENOMEM,
  EACCES: constants.errno.EACCES,
  EBUSY: constants.errno.EBUSY,
  EMFILE: constants.errno.EMFILE,
  EEXIST: constants.errno.EEXIST,
  ENODEV: constants.errno.ENODEV,
  EINVAL: constants.errno.EINVAL,
  ENOTTY: constants.errno.ENOTTY,
  ENOSPC: constants.errno.ENOSPC,
  EMSGSIZE: constants.errno.EMSGSIZE,
  ENOSYS: constants.errno.ENOSYS,
  EOPNOTSUPP: constants.errno.EOPNOTSUPP,
  EADDRINUSE: constants.errno.EADDRINUSE,
} as const;
