// What both ends of a connection allow.

/** Of one gRPC message. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Of a plan bundle, which travels in chunks. */
export const MAX_BUNDLE_BYTES = 16 * 1024 * 1024;
