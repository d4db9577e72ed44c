/** Sets of IP addresses and networks, such as `10.0.0.0/8,127.0.0.1,::1`. */
import { BlockList, isIP } from "node:net";

/** A set of addresses and networks of both families. */
export class CidrList {
  // The list also matches IPv4 addresses in IPv6 notation.
  readonly #list = new BlockList();
  #isEmpty = true; // the usual case, for which a query of the list would be slow

  /**
   * Parses addresses and networks with commas between them. An empty text is an empty set. Throws an Error
   * whose message goes on after the name of an option: "must be …".
   */
  static parse(text: string): CidrList {
    const networks = new CidrList();
    for (const item of text === "" ? [] : text.split(",")) networks.#add(item);
    return networks;
  }

  /** Returns whether the set contains the address. A text that is no address is not in the set. */
  contains(address: string): boolean {
    const family = this.#isEmpty ? 0 : isIP(address);
    return family !== 0 && this.#list.check(address, family === 4 ? "ipv4" : "ipv6");
  }

  #add(item: string): void {
    const [address = "", length, ...more] = item.split("/");
    const family = address.includes("%") ? 0 : isIP(address); // a zone has a meaning on one machine only
    const bits = family === 4 ? 32 : 128;
    const prefix = length === undefined ? bits : /^(0|[1-9]\d{0,2})$/.test(length) ? Number(length) : NaN;
    if (family === 0 || more.length > 0 || !(prefix <= bits)) {
      throw new Error(
        `must be addresses and networks such as 127.0.0.1,10.0.0.0/8,fd00::/8 ("${item}" is neither)`,
      );
    }
    this.#isEmpty = false;
    this.#list.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  }
}
