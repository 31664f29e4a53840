// The OpenAPI document, made from the routes' zod schemas, and Swagger UI for it at /docs with files of its own.
import fastifySwagger from "@fastify/swagger";
import fastifySwaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from "fastify-type-provider-zod";
import { apiSchemas } from "./schemas.ts";

/** Comes before the routes: it also makes their schemas check what comes in and what goes out. */
export async function documentApi(app: FastifyInstance, version: string): Promise<void> {
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  await app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "FLEAD coordinator", description: "What the loop did. Null means: not measured.", version },
    },
    transform: createJsonSchemaTransform({ schemaRegistry: apiSchemas }),
    transformObject: withoutInputs(createJsonSchemaTransformObject({ schemaRegistry: apiSchemas })),
  });
  await app.register(fastifySwaggerUi, {
    routePrefix: "/docs",
    uiConfig: { validatorUrl: null, layout: "BaseLayout" },
  });
}

type Transform = ReturnType<typeof createJsonSchemaTransformObject>;

/** Every named schema comes twice, as given and as answered; nothing named is ever given to this API. */
function withoutInputs(transform: Transform): Transform {
  return (source) => {
    const document = transform(source);
    if (!("components" in document) || document.components?.schemas === undefined) return document;
    const answered = Object.entries(document.components.schemas).filter(([name]) => !name.endsWith("Input"));
    return {
      ...document,
      components: { ...document.components, schemas: Object.fromEntries(answered) },
    } as ReturnType<Transform>;
  };
}
