// Who asks: until there is a log-in, whoever can reach this machine's loopback is the admin.
import type { FastifyRequest } from "fastify";

export const actorOf = (_request: FastifyRequest): string => "admin (loopback)";
