/** Sets of IP addresses, as `10.0.0.0/8,127.0.0.1,::1` names them. */
import { BlockList, isIP } from "node:net";

/** Addresses and networks of both families. */
export class CidrList {
  // The runtime's set of networks, named after what most use it for. IPv4 addresses written as IPv6 are in it too.
  readonly #list = new BlockList();
  #isEmpty = true; // as it mostly is: that is found much sooner than by asking the list

  /**
   * Reads addresses and networks with commas between; an empty text is none at all. Throws an Error that goes on
   * after the name of what is wrong: "must be …".
   */
  static parse(text: string): CidrList {
    const networks = new CidrList();
    for (const item of text === "" ? [] : text.split(",")) networks.#add(item);
    return networks;
  }

  /** Whether the address is one of them. What is no address is not. */
  contains(address: string): boolean {
    const family = this.#isEmpty ? 0 : isIP(address);
    return family !== 0 && this.#list.check(address, family === 4 ? "ipv4" : "ipv6");
  }

  #add(item: string): void {
    const [address = "", length, ...more] = item.split("/");
    const family = address.includes("%") ? 0 : isIP(address); // a zone is one machine's own matter
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
