import { address, integer, orNone, text } from "../declare.ts";

/** Where the server listens for clients and for health checks. */
export const listening = {
  host: text("0.0.0.0", "ADDRESS", "Address to listen on. The default is every IPv4 address of the machine."),
  port: integer(6000, 0, 65_535, "port", "TCP port to listen on. 0 takes a free port, and the log names it."),
  healthPort: orNone(integer(
    0,
    1,
    65_535,
    "port",
    "HTTP port for health checks. GET /ready gives 200, or 503 while the server drains. GET /live gives " +
      "200. 0: no health checks.",
  )),
  healthHost: address(
    "Address of --health-port, such as one that only load balancers reach. none: the address of --host.",
  ),
};
