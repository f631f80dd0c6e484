// The error numbers that only a kernel returns; the library never compares with them. See errno(3).

export const EEXIST = 17;
export const ENODEV = 19;
export const EDESTADDRREQ = 89;
export const EMSGSIZE = 90;
export const EPROTOTYPE = 91;
export const EADDRNOTAVAIL = 99;
export const EISCONN = 106;
