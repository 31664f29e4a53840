// Why a broker can't be used, and what a person does about it.

const UNTRUSTED = "give the certificates that may sign the broker's, or its own (caFile, --ca-file)";
const UNKNOWN_USER = "are user and password right (userFile and passwordFile, --user-file and --password-file)?";

/** By Node's and OpenSSL's codes, and by the reason codes of MQTT 3.1.1 and 5. */
const ADVICE: Readonly<Record<string | number, string>> = {
  ECONNREFUSED: "is the broker running, and is the port right?",
  ENOTFOUND: "is the host's name right?",
  EAI_AGAIN: "no name server answers; is the network up?",
  ETIMEDOUT: "is the address right, and does a firewall let it through?",
  EHOSTUNREACH: "is the address right, and the network up?",
  ECONNRESET: "a port for TLS takes mqtts:// only, another one mqtt://",
  EPROTO: "a port for TLS takes mqtts:// only, another one mqtt://",
  ERR_SSL_WRONG_VERSION_NUMBER: "a port without TLS takes mqtt://",
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_HAS_EXPIRED: "the broker needs a new certificate",
  CERT_NOT_YET_VALID: "is the machine's clock right?",
  ERR_TLS_CERT_ALTNAME_INVALID: "name the host as its certificate does (in the URL, or by serverName, --server-name)",
  1: "it speaks another version (protocol, --protocol)",
  2: "it refuses the client id (clientId)",
  4: UNKNOWN_USER,
  5: UNKNOWN_USER,
  132: "it speaks another version (protocol, --protocol)",
  133: "it refuses the client id (clientId)",
  134: UNKNOWN_USER,
  135: UNKNOWN_USER,
};

type BrokerError = Error & { readonly code?: string | number };

/** What to do about it; null: nothing in particular is known. */
export const brokerAdvice = ({ code }: BrokerError): string | null =>
  code === undefined ? null : (ADVICE[code] ?? null);

/** What happened, with the advice that there is. */
export function brokerFault(error: BrokerError): string {
  const what = error.message || String(error);
  const advice = brokerAdvice(error);
  return advice === null ? what : `${what}; ${advice}`;
}
