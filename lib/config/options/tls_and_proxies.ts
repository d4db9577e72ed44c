import { choice, file, networks } from "../declare.ts";

/** TLS of the clients' connections, and load balancers before the server. */
export const tlsAndProxies = {
  tlsCert: file(
    "Certificate chain in PEM form. All connections are then TLS. SIGHUP reloads it. Needs --tls-key.",
  ),
  tlsKey: file("Private key of --tls-cert in PEM form. SIGHUP reloads it."),
  trustedProxies: networks(
    "Load balancers that send a PROXY protocol header (version 1 or 2), such as 127.0.0.1 or " +
      "10.0.0.0/8,fd00::/8. The log and the limits per address then use the client's address.",
  ),
  proxyRequired: choice<"auto" | "yes" | "no">(
    "auto",
    ["auto", "yes", "no"],
    "Whether a connection from --trusted-proxies must begin with a header that has the client's address. " +
      "Without the header, limits per address do not hold. auto: yes if --host is a loopback address among " +
      "--trusted-proxies, as only proxies can then connect.",
  ),
};
